//! The streams of rejected messages of shards.

use crate::fixture::{REJECTED, ledger};
use crate::support::cluster::Cluster;
use crate::support::run;

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
