//! `rejected list`.

use std::collections::HashSet;

use serde_json::Value;

use crate::fixture::{REJECTED, ledger};
use crate::support::redis::Redis;
use crate::support::{Running, program};

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
