//! The program with shards, on a cluster of three primaries.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::{BTreeSet, HashSet};

use redis_private_server::PrivateServer;
use rustix::process::Signal;
use serde_json::Value;
use support::cluster::Cluster;
use support::{Running, Said, program, published, run};

fn last_line(said: &Said) -> &str {
    said.stdout.lines().last().unwrap_or_else(|| panic!("nothing on stdout: {}", said.stderr))
}

#[tokio::test]
async fn messages_published_round_robin_are_in_the_output_of_each_shard() {
    let cluster = Cluster::start().await;
    let mut group = cluster.group(5, &["--shard-tags", "--max-messages", "10000"]);
    group
        .wait_for("reading 5 of 5 shards (0-4): messages:published:{0} … messages:published:{4} at redis://");
    group.wait_for_consumers(5);
    assert_eq!(published(&cluster.publish(10_000, 5, &["--shard-tags"])), 10_000);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert_eq!(last_line(&end), "received 10000 = processed 10000 + rejected 0 + dropped 0; no gaps");
    let mut all = HashSet::new();
    for shard in 0..5 {
        let ids = cluster.ids_in(&format!("messages:processed:{{{shard}}}"));
        assert_eq!(ids.len(), 2_000, "shard {shard}");
        all.extend(ids);
        let told = format!("shard {shard}: received 2000 = processed 2000 + ");
        assert!(end.stderr.contains(&told), "{}", end.stderr);
    }
    assert_eq!(all.len(), 10_000);
}

#[tokio::test]
async fn a_member_of_the_message_decides_its_shard() {
    let cluster = Cluster::start().await;
    let mut group = cluster.group(4, &["--max-messages", "1000"]);
    group.wait_for_consumers(4);
    assert_eq!(published(&cluster.publish(900, 4, &["--shard-by", "message_id"])), 900);
    let padding = ["--shard-by", "padding", "--payload-bytes", "100"];
    assert_eq!(published(&cluster.publish(100, 4, &padding)), 100);
    assert_eq!(group.end().await.code, 0);
    let value = ".".repeat(100 - r#"{"message_id":"","padding":""}"#.len() - 36);
    let slot_of = |value: &str| cluster.ask::<u16>(&["CLUSTER", "KEYSLOT", value]) % 4;
    let shard_of_padding = slot_of(&value);
    let mut count = 0;
    for shard in 0..4 {
        let ids = cluster.ids_in(&format!("messages:processed:{shard}"));
        let strangers = ids.iter().filter(|id| slot_of(id) != shard).count();
        count += ids.len();
        // These messages came here because of their padding.
        assert!(strangers <= if shard == shard_of_padding { 100 } else { 0 }, "shard {shard}: {strangers}");
        assert!(strangers > 0 || shard != shard_of_padding);
    }
    assert_eq!(count, 1_000);
}

#[tokio::test]
async fn streams_of_shards_are_written_and_read_at_their_nodes() {
    let cluster = Cluster::start().await;
    let to_streams = ["--to", "stream", "--shard-tags", "--only-shards", "1-3,7"];
    assert_eq!(published(&cluster.publish(2_000, 8, &to_streams)), 2_000);
    let run = ["--source", "stream", "--shards", "8", "--shard-tags", "--only-shards", "1-3,7"];
    let group = Running::start(cluster.program(&run).args(["--max-messages", "2000", "--json"]));
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let ledger: Value = serde_json::from_str(last_line(&end)).unwrap();
    assert_eq!((&ledger["type"], &ledger["processed"]), (&"ledger".into(), &2_000.into()));
    let shards = ledger["shards"].as_array().unwrap();
    let figures: Vec<_> = shards.iter().map(|s| (s["shard"].as_u64(), s["processed"].as_u64())).collect();
    assert_eq!(figures, [1, 2, 3, 7].map(|shard| (Some(shard), Some(500))));
    for shard in [1, 2, 3, 7] {
        assert_eq!(cluster.ids_in(&format!("messages:processed:{{{shard}}}")).len(), 500);
    }
}

#[tokio::test]
async fn a_single_stream_is_written_at_its_node() {
    let cluster = Cluster::start().await;
    for stream in ["a", "b", "c", "d", "e", "f"] {
        let publish = ["load", "--count", "100", "--to", "stream", "--channel", stream];
        assert_eq!(published(&run(&mut cluster.program(&publish))), 100);
        assert_eq!(cluster.ask::<u64>(&["XLEN", stream]), 100);
    }
}

#[tokio::test]
async fn a_json_report_has_the_figures_of_each_shard() {
    let cluster = Cluster::start().await;
    let mut group = cluster.group(3, &["--json", "--report-every", "100ms", "--only-shards", "0,2"]);
    group.wait_for("reading 2 of 3 shards (0,2): messages:published:0 … messages:published:2");
    group.wait_for_consumers(2);
    assert_eq!(published(&cluster.publish(10, 3, &["--only-shards", "2"])), 10);
    for _ in 0..100 {
        let report: Value = serde_json::from_str(&group.line()).unwrap();
        assert_eq!(report["type"], "report");
        let shards = report["shards"].as_array().unwrap();
        assert_eq!((&shards[0]["shard"], &shards[1]["shard"]), (&0.into(), &2.into()));
        if report["processed"] == 10 {
            assert_eq!((&shards[0]["processed"], &shards[1]["processed"]), (&0.into(), &10.into()));
            group.signal(Signal::TERM);
            assert_eq!(group.end().await.code, 0);
            return;
        }
    }
    panic!("no report has the messages");
}

#[tokio::test]
async fn ids_are_listed_and_cleared_by_shard() {
    let cluster = Cluster::start().await;
    let mut group = cluster.group(3, &[]);
    group.wait_for_consumers(3);
    let listed = run(&mut cluster.program(&["ids", "--shards", "3"]));
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let lines: Vec<_> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", listed.stdout);
    for (shard, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("consumer:ids:{shard}  ")), "{line}");
        assert!(line.contains("renewed "), "{line}");
    }
    let one = run(&mut cluster.program(&["ids", "--shards", "3", "--only-shards", "1"]));
    assert_eq!(one.stdout.lines().count(), 1, "{}", one.stdout);
    let plain = run(&mut cluster.program(&["ids", "--ids-key", "consumer:ids:2"]));
    assert_eq!(plain.stdout.lines().count(), 1, "without shards, on the node of the key: {}", plain.stderr);
    group.signal(Signal::TERM);
    assert_eq!(group.end().await.code, 0);

    for shard in 0..3 {
        cluster.ask::<u64>(&["RPUSH", &format!("consumer:ids:{{{shard}}}"), "somebody", "else"]);
    }
    let clear = ["ids", "clear", "--shards", "3", "--shard-tags", "--only-shards", "0,2"];
    let cleared = run(&mut cluster.program(&clear));
    assert_eq!(cleared.code, 0, "{}", cleared.stderr);
    assert!(cleared.stdout.starts_with("Removed 2 ids from consumer:ids:{0}. "), "{}", cleared.stdout);
    let left = [0, 1, 2].map(|shard| cluster.ask::<u64>(&["LLEN", &format!("consumer:ids:{{{shard}}}")]));
    assert_eq!(left, [0, 2, 0]);
}

#[tokio::test]
async fn sharded_channels_need_a_cluster() {
    let server = PrivateServer::builder().start().await.unwrap();
    let url = server.url();
    let mut said = BTreeSet::new();
    for args in [&["run", "--source", "sharded"][..], &["load", "--shards", "4"]] {
        let end = run(program(args).env("RCG_URL", &url));
        assert_eq!(end.code, 78, "{args:?}: {}", end.stderr);
        said.insert(end.stderr.lines().last().unwrap().to_owned());
    }
    let said = said.into_iter().collect::<Vec<_>>();
    assert!(said[0].contains("is not a cluster node, and sharded channels need a cluster"), "{said:?}");
    assert_eq!(said.len(), 1, "both say the same: {said:?}");

    let streams = ["load", "--to", "stream", "--shards", "4", "--count", "100"];
    assert_eq!(published(&run(program(&streams).env("RCG_URL", &url))), 100);
}

#[test]
fn shards_that_do_not_exist_are_a_usage_or_configuration_error() {
    let said = "there are 4 shards, numbered 0 to 3; leave out the others";
    for command in [&["run", "--source", "sharded"][..], &["ids"], &["publish"], &["load"]] {
        let flags = run(program(command).args(["--shards", "4", "--only-shards", "9"]));
        assert_eq!(flags.code, 2, "{command:?}: {}", flags.stderr);
        assert_eq!(flags.stderr, format!("error: --only-shards: {said}\n"), "{command:?}");
    }
    for command in [&["run", "--source", "sharded"][..], &["ids"]] {
        let variables = run(program(command).env("RCG_SHARDS", "4").env("RCG_ONLY_SHARDS", "9"));
        assert_eq!(variables.code, 78, "{command:?}: {}", variables.stderr);
        assert_eq!(variables.stderr, format!("error: RCG_ONLY_SHARDS: {said}\n"), "{command:?}");
    }
    let by = run(&mut program(&["load", "--shards", "4", "--shard-by", "user_id"]));
    assert_eq!(by.code, 2, "{}", by.stderr);
    assert!(by.stderr.contains(r#"--shard-by: the messages have no member "user_id""#), "{}", by.stderr);
}

#[tokio::test]
async fn a_user_who_may_not_subscribe_or_publish_or_ask_is_told_what_to_grant() {
    let rules = "reader on >hush ~* &* +@all -ssubscribe -spublish";
    let mute = "mute on >hush ~* &* +@all -cluster|slots";
    let cluster = Cluster::start_with(|| PrivateServer::builder().acl_user(rules).acl_user(mute)).await;
    let address = cluster.0.nodes()[0].addr();
    let at = |user: &str, args: &[&str]| {
        run(program(args).env("RCG_URL", format!("redis://{user}:hush@{address}")))
    };
    let run_sharded = ["run", "--source", "sharded", "--shards", "1"];
    let publish = ["load", "--shards", "1", "--count", "10"];
    for (user, args, refused, grant) in [
        (
            "reader",
            &run_sharded[..],
            "refused SSUBSCRIBE messages:published:0",
            "+ssubscribe &messages:published:0",
        ),
        (
            "reader",
            &publish[..],
            "to publish to the channel messages:published:0",
            "+spublish &messages:published:0",
        ),
        ("mute", &run_sharded[..], "refused CLUSTER SLOTS", "+cluster|slots"),
        ("mute", &publish[..], "refused CLUSTER SLOTS", "+cluster|slots"),
        // The slot of foo is 12182, which the first node does not serve.
        ("mute", &["run", "--output", "foo"], "refused CLUSTER SLOTS", "+cluster|slots"),
        ("mute", &["ids", "--shards", "16"], "refused CLUSTER SLOTS", "+cluster|slots"),
    ] {
        let end = at(user, args);
        assert_eq!(end.code, 77, "{user} {args:?}: {}", end.stderr);
        assert!(
            end.stderr.contains(refused) && end.stderr.contains(grant),
            "{user} {args:?}: {}",
            end.stderr
        );
        assert!(!end.stderr.contains("hush"), "{}", end.stderr);
    }
}

#[tokio::test]
async fn a_database_that_a_cluster_does_not_have_is_a_configuration_error() {
    let cluster = Cluster::start().await;
    let url = format!("{}/3", cluster.0.url());
    let end = run(program(&["run", "--source", "sharded"]).env("RCG_URL", url));
    assert_eq!(end.code, 78, "{}", end.stderr);
    // A cluster of Valkey 9 can have several databases.
    let says = ["a cluster has only database 0: leave it out", "the server has no such database"];
    assert!(says.iter().any(|text| end.stderr.contains(text)), "{}", end.stderr);
}

#[test]
fn a_buffer_too_small_for_all_shards_is_reported_with_the_share_of_a_shard() {
    let few = ["run", "--source", "sharded", "--shards", "4", "--buffer", "1MiB"];
    let end = run(&mut program(&few));
    assert_eq!(end.code, 2, "{}", end.stderr);
    assert!(end.stderr.starts_with("error: --buffer: max-payload: "), "{}", end.stderr);
    assert!(
        end.stderr.contains("in the 262144 bytes that each of 4 shards has of the buffer"),
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn a_cluster_with_unassigned_slots_is_not_ready() {
    let cluster = Cluster::start().await;
    let slot: u16 = cluster.ask(&["CLUSTER", "KEYSLOT", "messages:published:0"]);
    for node in 0..3 {
        cluster.at::<()>(node, &["CLUSTER", "DELSLOTS", &slot.to_string()]).unwrap();
    }
    let first = cluster.0.nodes()[0].addr();
    for args in [
        &["run", "--source", "sharded", "--shards", "1"][..],
        &["load", "--shards", "1", "--count", "1"],
        &["ids", "--ids-key", "messages:published:0"],
    ] {
        let end = run(&mut cluster.program(args));
        assert_eq!(end.code, 69, "{args:?}: {}", end.stderr);
        assert!(end.stderr.contains("CLUSTERDOWN"), "{args:?}: {}", end.stderr);
        assert!(end.stderr.contains(&format!("slots {slot}")), "{args:?}: {}", end.stderr);
        assert!(
            end.stderr.contains(&format!("redis-cli --cluster check {first}")),
            "{args:?}: {}",
            end.stderr
        );
    }
}

#[tokio::test]
async fn a_node_that_is_down_is_named() {
    let mut cluster = Cluster::start().await;
    let dead = cluster.0.nodes()[2].addr();
    cluster.0.node(2).kill().unwrap();
    // With this many shards, every node serves some.
    let end = run(&mut cluster.program(&["load", "--shards", "64", "--count", "1"]));
    assert_eq!(end.code, 69, "{}", end.stderr);
    assert!(end.stderr.contains(&format!("node {dead}: ")), "{}", end.stderr);
    assert!(end.stderr.contains("redis-cli --cluster check"), "{}", end.stderr);
}
