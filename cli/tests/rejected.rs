//! `rejected list`, `rejected replay` and `rejected clear` against a server.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::{BTreeMap, HashSet};

use rustix::process::Signal;
use serde_json::Value;
use support::cluster::Cluster;
use support::redis::Redis;
use support::{Running, Said, program, run};

const OUTPUT: &str = "messages:processed";
const REJECTED: &str = "messages:rejected";

type Entries = Vec<(String, BTreeMap<String, String>)>;

impl Redis {
    /// Appends what a group writes about a rejected message. Returns its id.
    fn reject(&mut self, payload: &str, error: &str) -> String {
        let by_group = ["consumer_id", "c", "source", "messages:published", "attempts", "5"];
        self.ask(&[&["XADD", REJECTED, "*", "payload", payload, "error", error][..], &by_group].concat())
    }

    /// Appends this many at once. Every seventh is not JSON, and is rejected at every attempt.
    fn reject_many(&mut self, messages: usize) {
        for chunk in (0..messages).collect::<Vec<_>>().chunks(1000) {
            let mut pipeline = redis::pipe();
            for n in chunk {
                let payload = if n % 7 == 0 { format!("bad {n}") } else { format!("{{\"n\":\"{n}\"}}") };
                let add = pipeline.cmd("XADD").arg(REJECTED).arg("*").arg("payload").arg(payload);
                add.arg(&["error", "gone", "consumer_id", "c", "source", "messages:published"]).ignore();
            }
            pipeline.exec(&mut self.connection).unwrap();
        }
    }

    /// Runs `rejected` to its end.
    fn rejected(&self, args: &[&str]) -> Said {
        run(program(&[&["rejected"], args].concat()).env("RCG_URL", self.server.url()))
    }

    fn replay(&self, args: &[&str]) -> Running {
        Running::start(program(&[&["rejected", "replay"], args].concat()).env("RCG_URL", self.server.url()))
    }

    fn entries(&mut self, stream: &str) -> Entries {
        self.ask(&["XRANGE", stream, "-", "+"])
    }

    fn length(&mut self, stream: &str) -> usize {
        self.ask(&["XLEN", stream])
    }

    fn keys(&mut self) -> HashSet<String> {
        self.ask(&["KEYS", "*"])
    }
}

fn values(entries: &Entries, field: &str) -> Vec<String> {
    entries.iter().filter_map(|(_, fields)| fields.get(field).cloned()).collect()
}

fn ledger(end: &Said) -> &str {
    assert_eq!(end.code, 0, "{}", end.stderr);
    end.stdout.lines().last().unwrap()
}

#[tokio::test]
async fn rejected_messages_are_listed_with_their_reason_and_escaped_for_a_terminal() {
    let mut redis = Redis::start().await;
    let mut group = Running::start(
        program(&["--max-messages", "2", "--consumers", "1"]).env("RCG_URL", redis.server.url()),
    );
    group.wait_for_consumers(1);
    redis.ask::<()>(&["PUBLISH", "messages:published", "no json"]);
    redis::cmd("PUBLISH").arg("messages:published").arg(b"\x1b[2J\xff").exec(&mut redis.connection).unwrap();
    group.end().await;

    let end = redis.rejected(&["list"]);
    assert_eq!(end.code, 0, "{}", end.stderr);
    let lines: Vec<_> = end.stdout.lines().collect();
    let (id, _) = &redis.entries_lossy(REJECTED)[0];
    assert!(lines[0].starts_with(&format!("{id}  20")) && lines[0].contains("Z  the payload"), "{lines:?}");
    assert!(lines[1].starts_with("    from messages:published, consumer "), "{lines:?}");
    assert!(lines[1].ends_with(", 1 attempt"), "{lines:?}");
    assert_eq!((lines[2], lines[5]), ("    no json", "    \\u{1b}[2J\u{fffd}"));
    assert!(end.stderr.contains("2 of 2 rejected messages in messages:rejected."), "{}", end.stderr);

    let json = redis.rejected(&["list", "--json"]);
    let lines: Vec<Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["payload"], "no json");
    assert_eq!(lines[1]["payload"]["hex"], "1b5b324aff");
    assert_eq!((&lines[0]["attempts"], &lines[0]["source"]), (&1.into(), &"messages:published".into()));
}

impl Redis {
    /// Entries whose values may be other than text.
    fn entries_lossy(&mut self, stream: &str) -> Vec<(String, redis::Value)> {
        self.ask(&["XRANGE", stream, "-", "+"])
    }
}

#[tokio::test]
async fn list_shows_the_newest_entries_or_those_from_an_id_and_counts_reasons() {
    let mut redis = Redis::start().await;
    let ids: Vec<_> =
        (0..1200).map(|n| redis.reject(&n.to_string(), if n < 700 { "one" } else { "two" })).collect();
    let listed = |args: &[&str]| -> Vec<String> {
        let end = redis.rejected(&[&["list", "--json"], args].concat());
        assert_eq!(end.code, 0, "{}", end.stderr);
        let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        end.stdout.lines().map(of).collect()
    };
    assert_eq!(listed(&[]), ids[1180..]);
    assert_eq!(listed(&["--count", "1100"]), ids[100..]);
    assert_eq!(listed(&["--from", &ids[5], "--count", "600"]), ids[5..605]);
    let counted = redis.rejected(&["list", "--by-reason"]);
    let lines: Vec<_> = counted.stdout.lines().map(str::trim_start).collect();
    assert!(lines[0].starts_with("700  one  (first ") && lines[1].starts_with("500  two  "), "{lines:?}");
    assert!(counted.stderr.contains("1200 rejected messages in messages:rejected."), "{}", counted.stderr);
}

#[tokio::test]
async fn an_empty_stream_is_reported_as_empty_and_a_key_of_another_type_is_named() {
    let mut redis = Redis::start().await;
    for args in [&["list"][..], &["list", "--by-reason"]] {
        let end = redis.rejected(args);
        assert_eq!((end.code, &*end.stdout), (0, ""));
        assert!(end.stderr.contains("No rejected messages in messages:rejected."), "{}", end.stderr);
    }
    assert_eq!(
        ledger(&redis.rejected(&["replay"])),
        "received 0 = processed 0 + rejected 0 + dropped 0; no gaps"
    );
    assert_eq!(redis.keys(), HashSet::new());
    redis.ask::<()>(&["SET", REJECTED, "a string"]);
    for action in ["list", "clear", "replay"] {
        let end = redis.rejected(&[action]);
        assert_eq!((end.code, end.stderr.contains("messages:rejected")), (78, true), "{}", end.stderr);
    }
}

#[tokio::test]
async fn nothing_is_cleared_without_yes_and_only_the_requested_entries_with_it() {
    let mut redis = Redis::start().await;
    let ids: Vec<_> = (0..10).map(|n| redis.reject(&n.to_string(), "bad")).collect();
    let refused = redis.rejected(&["clear"]);
    assert_eq!((refused.code, &*refused.stdout), (2, ""));
    assert_eq!(
        refused.stderr,
        "10 rejected messages would be removed from messages:rejected, for good. Nothing was removed: say --yes to remove \
         them.\n"
    );
    assert_eq!(redis.length(REJECTED), 10);

    let removed = |end: Said| {
        assert_eq!(end.code, 0, "{}", end.stderr);
        end.stdout
    };
    let one = redis.rejected(&["clear", "--yes", "--id", &ids[4], "--id", &ids[8], "--id", "1-1"]);
    assert_eq!(removed(one), "Removed 2 rejected messages from messages:rejected.\n");
    let older = redis.rejected(&["clear", "--yes", "--before", &ids[3]]);
    assert_eq!(removed(older), "Removed 3 rejected messages from messages:rejected.\n");
    let old = redis.rejected(&["clear", "--yes", "--before", "1h"]);
    assert_eq!((&*removed(old), redis.length(REJECTED)), ("", 5));
    let left: Vec<_> = redis.entries(REJECTED).into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [3, 5, 6, 7, 9].map(|n: usize| ids[n].clone()));
    assert_eq!(
        removed(redis.rejected(&["clear", "--yes"])),
        "Removed 5 rejected messages from messages:rejected.\n"
    );
    assert_eq!(redis.length(REJECTED), 0);
}

#[tokio::test]
async fn a_replayed_message_leaves_the_stream_for_the_output_and_nothing_else_is_left_behind() {
    let mut redis = Redis::start().await;
    redis.reject("{\"message_id\":\"a\"}", "gave up");
    let of_stream = ["XADD", REJECTED, "*", "message_id", "b", "error", "its own", "error", "gave up"];
    let by_group = ["consumer_id", "c", "source", "messages:published", "source_id", "5-1"];
    redis.ask::<String>(&[&of_stream[..], &by_group].concat());
    let end = redis.rejected(&["replay", "--with-source-id"]);
    assert_eq!(ledger(&end), "received 2 = processed 2 + rejected 0 + dropped 0; no gaps");
    let output = redis.entries(OUTPUT);
    assert_eq!(
        values(&output, "message_id").into_iter().collect::<HashSet<_>>(),
        ["a", "b"].map(String::from).into()
    );
    assert_eq!(
        (values(&output, "error"), values(&output, "source_id")),
        (vec!["its own".into()], vec!["5-1".into()])
    );
    assert_eq!(redis.keys(), HashSet::from([OUTPUT.to_owned()]));
}

#[tokio::test]
async fn a_message_that_is_rejected_again_returns_once_with_all_its_attempts() {
    let mut redis = Redis::start().await;
    let old = redis.reject("no json", "the shop is closed");
    let end = redis.rejected(&["replay"]);
    assert_eq!(ledger(&end), "received 1 = processed 0 + rejected 1 + dropped 0; no gaps");
    let entries = redis.entries(REJECTED);
    let [(id, fields)] = &entries[..] else { panic!("{entries:?}") };
    assert_ne!(*id, old);
    assert_eq!((fields["payload"].as_str(), fields["attempts"].as_str()), ("no json", "6"));
    assert!(fields["error"].starts_with("the payload is not JSON"), "{fields:?}");
    assert_eq!(fields["source"], "messages:published");
    assert_eq!(fields.len(), 5, "{fields:?}");
    assert_eq!(redis.keys(), HashSet::from([REJECTED.to_owned()]));
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
}

#[tokio::test]
async fn only_messages_that_the_filters_select_are_replayed_and_the_rest_is_untouched() {
    let mut redis = Redis::start().await;
    let payload = |n| format!("{{\"n\":\"{n}\"}}");
    let ids: Vec<_> =
        (0..6).map(|n| redis.reject(&payload(n), if n % 2 == 0 { "even (x)" } else { "odd" })).collect();
    let before = redis.entries(REJECTED);
    redis.rejected(&["replay", "--id", &ids[2], "--id", &ids[3], "--id", "7-7"]);
    assert_eq!(
        values(&redis.entries(OUTPUT), "n").into_iter().collect::<HashSet<_>>(),
        ["2", "3"].map(String::from).into()
    );
    redis.rejected(&["replay", "--reason", "(x)", "--count", "1"]);
    assert_eq!(values(&redis.entries(OUTPUT), "n").last().unwrap(), "0");
    let end = redis.rejected(&["replay", "--reason", "even"]);
    assert_eq!(ledger(&end), "received 1 = processed 1 + rejected 0 + dropped 0; no gaps");
    assert!(end.stderr.contains("2 entries not selected; left in messages:rejected"), "{}", end.stderr);
    assert_eq!(redis.entries(REJECTED), [before[1].clone(), before[5].clone()]);
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
}

#[tokio::test]
async fn an_incomplete_message_and_a_foreign_entry_stay_and_are_reported() {
    let mut redis = Redis::start().await;
    let cut = ["XADD", REJECTED, "*", "payload", "{", "payload_bytes", "900"];
    redis.ask::<String>(&[&cut[..], &["error", "too long", "consumer_id", "c", "source", "s"]].concat());
    redis.ask::<String>(&["XADD", REJECTED, "*", "payload", "{}"]);
    let end = redis.rejected(&["replay"]);
    assert_eq!(ledger(&end), "received 0 = processed 0 + rejected 0 + dropped 0; no gaps");
    let left = "1 entry not replayed, but left in messages:rejected: ";
    assert!(end.stderr.contains(&format!("{left}the payload was longer than max-payload")), "{}", end.stderr);
    assert!(end.stderr.contains(&format!("{left}not written by a group")), "{}", end.stderr);
    assert_eq!(redis.length(REJECTED), 2);
}

#[tokio::test]
async fn a_replay_that_is_killed_repeatedly_loses_and_duplicates_no_message() {
    const MESSAGES: usize = 40_000;
    const OF: [&str; 4] = ["--lease", "1s", "--consumers", "4"];
    let mut redis = Redis::start().await;
    redis.reject_many(MESSAGES);
    let mut kills = 0;
    for _ in 0..3 {
        let before = redis.length(OUTPUT);
        let replay = redis.replay(&OF);
        while redis.length(OUTPUT) == before {
            assert!(redis.length(OUTPUT) < MESSAGES * 6 / 7, "it was too quick");
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        // Dropping it sends SIGKILL.
        drop(replay);
        // The server may still have a commit of it in its socket.
        while redis.ask::<String>(&["CLIENT", "LIST"]).lines().count() > 1 {}
        kills += 1;
        each_is_there_once(&mut redis, MESSAGES);
    }
    assert!(redis.length(OUTPUT) < MESSAGES * 6 / 7, "{kills} kills found nothing to interrupt");
    let end = redis.replay(&OF).end_within(std::time::Duration::from_secs(60)).await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let (processed, bad) = each_is_there_once(&mut redis, MESSAGES);
    assert_eq!((processed, bad), (MESSAGES - MESSAGES.div_ceil(7), MESSAGES.div_ceil(7)));
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
    assert!(redis.keys().iter().all(|key| !key.contains("leases:redis") && !key.contains("token")));
}

/// Checks that each message is in one of the two streams, once. Returns the numbers in the output and in the rejected
/// ones.
fn each_is_there_once(redis: &mut Redis, messages: usize) -> (usize, usize) {
    let processed = values(&redis.entries(OUTPUT), "n");
    let rejected = values(&redis.entries(REJECTED), "payload");
    let number = |text: &String| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let all: Vec<_> = processed.iter().chain(&rejected).map(number).collect();
    let distinct: HashSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (messages, messages));
    (processed.len(), rejected.len())
}

#[tokio::test]
async fn a_second_replay_is_refused_while_the_first_one_runs() {
    let mut redis = Redis::start().await;
    redis.reject_many(60_000);
    let first = redis.replay(&["--lease", "2s"]);
    while redis.length(OUTPUT) == 0 {}
    // The first replay still runs, and its lease has not expired, when the second one starts.
    let second = redis.rejected(&["replay", "--lease", "2s"]);
    assert_eq!(second.code, 1, "{}", second.stderr);
    let said = "another process replays messages:rejected; wait for its end";
    assert!(second.stderr.contains(said), "{}", second.stderr);
    let end = first.end_within(std::time::Duration::from_secs(60)).await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    each_is_there_once(&mut redis, 60_000);
}

#[tokio::test]
async fn a_replay_frozen_for_longer_than_its_lease_commits_none_of_the_messages_it_held() {
    const MESSAGES: usize = 30_000;
    let mut redis = Redis::start().await;
    redis.reject_many(MESSAGES);
    let first = redis.replay(&["--lease", "1s"]);
    while redis.length(OUTPUT) == 0 {}
    first.signal(Signal::STOP);
    let second = redis.replay(&["--lease", "1s"]);
    let end = second.end_within(std::time::Duration::from_secs(60)).await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    each_is_there_once(&mut redis, MESSAGES);
    first.signal(Signal::CONT);
    let end = first.end_within(std::time::Duration::from_secs(60)).await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let (processed, _) = each_is_there_once(&mut redis, MESSAGES);
    assert_eq!(processed, MESSAGES - MESSAGES.div_ceil(7));
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
    assert_eq!(redis.keys(), HashSet::from([OUTPUT.to_owned(), REJECTED.to_owned()]));
}

#[tokio::test]
async fn an_output_that_becomes_another_type_loses_no_rejected_message() {
    const MESSAGES: usize = 50_000;
    let mut redis = Redis::start().await;
    redis.reject_many(MESSAGES);
    let replay = redis.replay(&[]);
    while redis.length(OUTPUT) == 0 {}
    let mut swap = redis::pipe();
    swap.atomic()
        .cmd("RENAME")
        .arg(OUTPUT)
        .arg("aside")
        .ignore()
        .cmd("SET")
        .arg(OUTPUT)
        .arg("a string")
        .ignore();
    swap.exec(&mut redis.connection).unwrap();
    let end = replay.end().await;
    assert_eq!(end.code, 78, "{}", end.stderr);
    redis.ask::<()>(&["DEL", OUTPUT]);
    redis.ask::<()>(&["RENAME", "aside", OUTPUT]);
    let (processed, _) = each_is_there_once(&mut redis, MESSAGES);
    assert!(processed < MESSAGES * 6 / 7, "it was too quick");
}

#[tokio::test]
async fn rejected_maxlen_keeps_approximately_the_last_entries() {
    let mut redis = Redis::start().await;
    let mut group = Running::start(
        program(&["--max-messages", "3000", "--rejected-maxlen", "100"]).env("RCG_URL", redis.server.url()),
    );
    group.wait_for_consumers(3);
    let mut pipeline = redis::pipe();
    for n in 0..3000 {
        pipeline.cmd("PUBLISH").arg("messages:published").arg(format!("bad {n}")).ignore();
    }
    pipeline.exec(&mut redis.connection).unwrap();
    let end = group.end().await;
    assert_eq!(ledger(&end), "received 3000 = processed 0 + rejected 3000 + dropped 0; no gaps");
    let left = redis.length(REJECTED);
    assert!((100..600).contains(&left), "{left}");
    assert!(
        end.stderr.contains("nothing trims messages:processed")
            && !end.stderr.contains("nothing trims messages:rejected")
    );
}

#[tokio::test]
async fn the_stream_of_each_shard_of_a_cluster_is_listed_replayed_and_cleared() {
    let cluster = Cluster::start().await;
    let shards = ["--shards", "5", "--shard-tags"];
    let fields = ["error", "bad", "consumer_id", "c", "source", "s"];
    for shard in 0..5 {
        let stream = format!("{REJECTED}:{{{shard}}}");
        for n in 0..=shard {
            let payload = if n == 0 { "bad".to_owned() } else { format!("{{\"n\":\"{n}\"}}") };
            cluster.ask::<String>(&[&["XADD", &stream, "*", "payload", &payload][..], &fields].concat());
        }
    }
    let rejected = |args: &[&str]| run(cluster.program(&["rejected"]).args(args).args(shards));
    let listed = rejected(&["list"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert!(
        listed.stdout.lines().any(|line| line.starts_with("messages:rejected:{3}  ")),
        "{}",
        listed.stdout
    );
    assert_eq!(listed.stdout.lines().filter(|line| line.starts_with("messages")).count(), 15);
    let end = rejected(&["replay"]);
    assert_eq!(ledger(&end), "received 15 = processed 10 + rejected 5 + dropped 0; no gaps");
    let cleared = rejected(&["clear", "--yes"]);
    assert_eq!(cleared.stdout.matches("Removed 1 rejected message from messages:rejected:{").count(), 5);
}

#[test]
fn all_commands_of_the_page_succeed() {
    let page = include_str!("../../docs/rejected.md");
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let commands: Vec<_> = blocks.flat_map(str::lines).collect();
    assert_eq!(commands.len(), 13);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut redis = Redis::start().await;
        for command in commands {
            redis.reject("{\"message_id\":\"a\"}", "no such customer");
            let by_group = ["error", "x", "consumer_id", "c", "source", "s"];
            let one = ["XADD", REJECTED, "1700000000000-0", "payload", "{}"];
            // An entry with this old id can only be added while the stream is empty.
            let _: redis::RedisResult<String> =
                redis::cmd("XADD").arg(&one[1..]).arg(&by_group).query(&mut redis.connection);
            let words = command.strip_prefix("redis-consumer-group rejected ").unwrap();
            let words: Vec<_> = match words.split_once(" '") {
                Some((words, quoted)) => words.split(' ').chain([quoted.trim_end_matches('\'')]).collect(),
                None => words.split(' ').collect(),
            };
            let end = redis.rejected(&words);
            assert_eq!(end.code, 0, "{command}: {}", end.stderr);
        }
    });
}
