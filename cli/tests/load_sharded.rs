//! `load --shards` while slots move and nodes are down.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::time::Duration;

use redis_private_server::{Builder, PrivateServer};
use rustix::process::Signal;
use support::cluster::{Cluster, calls, eventually};
use support::{Running, Said, TIMEOUT, program, published, published_so_far};
use tokio::time::{Instant, sleep};

/// Messages a second.
const RATE: u64 = 2_000;
/// The node that goes down. With this many shards, each of the three nodes has some.
const AWAY: usize = 2;
const SHARDS: &str = "16";

/// The other primaries, without the replica that replaces the node.
const OTHERS: [usize; 2] = [0, 1];

/// Publishes at an even rate without an end, and waits until each node has received messages.
async fn publishing(cluster: &Cluster) -> (Running, Instant) {
    let rate = RATE.to_string();
    let publish = ["load", "--shards", SHARDS, "--rate", &rate];
    let (load, start) = (Running::start(&mut cluster.program(&publish)), Instant::now());
    eventually("each node publishes", TIMEOUT, || (0..3).all(|node| cluster.published_by(node) > 50)).await;
    (load, start)
}

/// Checks that the other nodes keep publishing for a second. No cluster marks a node as failed sooner than that; after
/// it they refuse everything until the replica is promoted.
async fn others_go_on(cluster: &Cluster) {
    let by_others = || OTHERS.iter().map(|node| cluster.published_by(*node)).sum::<u64>();
    let before = by_others();
    sleep(Duration::from_secs(1)).await;
    let published = by_others() - before;
    assert!(published > RATE / 10, "only {published} in a second");
}

/// Waits until the replica of the node publishes in its place.
async fn replica_goes_on(cluster: &Cluster, limit: Duration) {
    eventually("the replica publishes", limit, || cluster.published_by(3 + AWAY) > RATE / 3).await;
}

/// Checks that all messages due before the end are published, except those in flight to a node that went down.
fn assert_all_is_published(end: &Said, due: u64) {
    assert!(!end.stderr.contains("not published") && !end.stderr.contains("error"), "{}", end.stderr);
    let lost = end.stderr.contains("more were sent, and the server did not answer");
    assert_eq!(end.code, i32::from(lost), "{}", end.stderr);
    let published = published_so_far(end);
    // The loss is at most the pipelines of one window, which are small until the outage. And the program needs time to
    // start.
    assert!(published + 2 * RATE > due, "{published} of {due}: {}", end.stderr);
}

async fn a_primary_dies(node_timeout: Duration) {
    let mut cluster = Cluster::with_replicas(node_timeout).await;
    let (load, start) = publishing(&cluster).await;
    cluster.0.node(AWAY).kill().unwrap();
    others_go_on(&cluster).await;
    // The replica waits before it requests votes, and sometimes has to request them again.
    replica_goes_on(&cluster, 3 * node_timeout + TIMEOUT).await;
    others_go_on(&cluster).await;
    let due = start.elapsed().as_millis() as u64 * RATE / 1_000;
    load.signal(Signal::TERM);
    assert_all_is_published(&load.end().await, due);
}

#[tokio::test]
async fn the_other_shards_get_their_messages_while_the_replica_of_a_dead_primary_is_promoted() {
    a_primary_dies(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_frozen_primary_blocks_only_its_shards_and_only_until_its_replica_is_promoted() {
    let cluster = Cluster::with_replicas(Duration::from_secs(2)).await;
    let (load, start) = publishing(&cluster).await;
    cluster.0.nodes()[AWAY].freeze().unwrap();
    others_go_on(&cluster).await;
    replica_goes_on(&cluster, TIMEOUT).await;
    let due = start.elapsed().as_millis() as u64 * RATE / 1_000;
    // Now it replies to everything it was sent, with success or an error.
    cluster.0.nodes()[AWAY].thaw().unwrap();
    load.signal(Signal::TERM);
    let end = load.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert_all_is_published(&end, due);
}

#[tokio::test]
async fn a_dead_node_without_a_replica_blocks_only_its_shards_and_their_messages_are_counted_at_the_end() {
    let mut cluster = Cluster::start_with(lenient).await;
    let (load, _) = publishing(&cluster).await;
    cluster.0.node(AWAY).kill().unwrap();
    others_go_on(&cluster).await;
    others_go_on(&cluster).await;
    // Two different signals: two of the same kind may be merged into one.
    load.signal(Signal::INT);
    load.signal(Signal::TERM);
    let end = load.end().await;
    assert_eq!(end.code, 1, "{}", end.stderr);
    assert!(published_so_far(&end) > RATE, "{}", end.stdout);
    assert!(end.stderr.contains("more were not published"), "{}", end.stderr);
}

/// A node that continues to serve when another one is down.
fn lenient() -> Builder {
    PrivateServer::builder().arg("cluster-require-full-coverage", "no")
}

#[tokio::test]
async fn publishing_follows_a_slot_that_moves() {
    let cluster = Cluster::start().await;
    let publish = ["load", "--shards", "2", "--rate", "2000", "--count", "6000"];
    let load = Running::start(&mut cluster.program(&publish));
    let by_all = || (0..3).map(|node| cluster.published_by(node)).sum::<u64>();
    eventually("messages are published", TIMEOUT, || by_all() > 500).await;
    let slot = cluster.0.slot_of("messages:published:0").await.unwrap();
    let from = cluster.0.primary_of(slot).await.unwrap();
    cluster.0.move_slot(slot, (from + 1) % 3).await.unwrap();
    let end = load.end().await;
    assert_eq!(published(&end), 6_000, "{}", end.stderr);
    assert_eq!(by_all(), 6_000);
}

#[tokio::test]
async fn publishing_to_a_plain_channel_moves_to_another_node_when_its_node_dies() {
    let mut cluster = Cluster::start_with(lenient).await;
    let slot = cluster.0.slot_of("messages:published").await.unwrap();
    let home = cluster.0.primary_of(slot).await.unwrap();
    let others = [(home + 1) % 3, (home + 2) % 3];
    let mut publish = program(&["load", "--rate", "1000"]);
    let load = Running::start(publish.env("RCG_URL", cluster.0.nodes()[others[0]].url()));
    let by = |node: usize| calls(&cluster.0.nodes()[node], "publish");
    eventually("messages are published", TIMEOUT, || by(home) > 100).await;
    cluster.0.node(home).kill().unwrap();
    let by = |node: usize| calls(&cluster.0.nodes()[node], "publish");
    eventually("others get them", TIMEOUT, || others.into_iter().map(by).sum::<u64>() > 100).await;
    load.signal(Signal::TERM);
    let end = load.end().await;
    assert_eq!(end.code, i32::from(end.stderr.contains("did not answer")), "{}", end.stderr);
}

#[tokio::test]
async fn messages_without_a_subscriber_are_counted() {
    let cluster = Cluster::start().await;
    let mut group = cluster.group(2, &["--shard-tags"]);
    group.wait_for_consumers(2);
    let heard = cluster.publish(100, 2, &["--shard-tags"]);
    assert_eq!(
        (published(&heard), heard.stderr.contains("reached no subscriber")),
        (100, false),
        "{}",
        heard.stderr
    );
    let half = cluster.publish(100, 4, &["--shard-tags"]);
    assert!(half.stderr.contains("50 of them reached no subscriber"), "{}", half.stderr);
    let untagged = cluster.publish(100, 2, &[]);
    assert!(untagged.stderr.contains("100 of them reached no subscriber"), "{}", untagged.stderr);
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "takes half a minute; scripts/test --long runs it"]
    async fn publishing_survives_a_failover_with_the_default_node_timeout() {
        a_primary_dies(Duration::from_secs(15)).await;
    }
}
