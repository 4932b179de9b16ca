//! `load --shards` while slots move and nodes are away.
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
/// The node that goes away. With this many shards, each of the three has some.
const AWAY: usize = 2;
const SHARDS: &str = "16";

/// The others. A node that comes to take its place is none of them.
const OTHERS: [usize; 2] = [0, 1];

/// Publishes at an even rate without an end, and waits until each node has got something.
async fn publishing(cluster: &Cluster) -> (Running, Instant) {
    let rate = RATE.to_string();
    let publish = ["load", "--shards", SHARDS, "--rate", &rate];
    let (load, start) = (Running::start(&mut cluster.program(&publish)), Instant::now());
    eventually("each node publishes", TIMEOUT, || (0..3).all(|node| cluster.published_by(node) > 50)).await;
    (load, start)
}

/// For a second, the others publish about what is theirs. No cluster gives up a node sooner than that, and then they
/// refuse everything until its replica is promoted.
async fn others_go_on(cluster: &Cluster) {
    let by_others = || OTHERS.iter().map(|node| cluster.published_by(*node)).sum::<u64>();
    let before = by_others();
    sleep(Duration::from_secs(1)).await;
    let published = by_others() - before;
    assert!(published > RATE / 10, "only {published} in a second");
}

/// The replica of the node publishes in its place.
async fn replica_goes_on(cluster: &Cluster, limit: Duration) {
    eventually("the replica publishes", limit, || cluster.published_by(3 + AWAY) > RATE / 3).await;
}

/// Everything that was due before the end is published; but for that which was on its way to a node that went away.
fn assert_all_is_published(end: &Said, due: u64) {
    assert!(!end.stderr.contains("not published") && !end.stderr.contains("error"), "{}", end.stderr);
    let lost = end.stderr.contains("more were sent, and the server did not answer");
    assert_eq!(end.code, i32::from(lost), "{}", end.stderr);
    let published = published_so_far(end);
    // At most the pipelines of one window; while nothing is wrong there is little in each. And the program had to start.
    assert!(published + 2 * RATE > due, "{published} of {due}: {}", end.stderr);
}

async fn a_primary_dies(node_timeout: Duration) {
    let mut cluster = Cluster::with_replicas(node_timeout).await;
    let (load, start) = publishing(&cluster).await;
    cluster.0.node(AWAY).kill().unwrap();
    others_go_on(&cluster).await;
    // The replica waits for its turn before it asks for votes, and sometimes has to ask again.
    replica_goes_on(&cluster, 3 * node_timeout + TIMEOUT).await;
    others_go_on(&cluster).await;
    let due = start.elapsed().as_millis() as u64 * RATE / 1_000;
    load.signal(Signal::TERM);
    assert_all_is_published(&load.end().await, due);
}

#[tokio::test]
async fn while_the_replica_of_a_dead_primary_is_promoted_the_other_shards_get_their_messages() {
    a_primary_dies(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_primary_that_stands_still_holds_up_only_its_shards_and_only_until_its_replica_is_promoted() {
    let cluster = Cluster::with_replicas(Duration::from_secs(2)).await;
    let (load, start) = publishing(&cluster).await;
    cluster.0.nodes()[AWAY].freeze().unwrap();
    others_go_on(&cluster).await;
    replica_goes_on(&cluster, TIMEOUT).await;
    let due = start.elapsed().as_millis() as u64 * RATE / 1_000;
    // Now it answers what it was sent, one way or the other.
    cluster.0.nodes()[AWAY].thaw().unwrap();
    load.signal(Signal::TERM);
    let end = load.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert_all_is_published(&end, due);
}

#[tokio::test]
async fn a_node_that_nobody_replaces_holds_up_only_its_shards_and_at_the_end_they_are_counted() {
    let mut cluster = Cluster::start_with(lenient).await;
    let (load, _) = publishing(&cluster).await;
    cluster.0.node(AWAY).kill().unwrap();
    others_go_on(&cluster).await;
    others_go_on(&cluster).await;
    // Two different ones: a second one of the same kind may come as one with the first.
    load.signal(Signal::INT);
    load.signal(Signal::TERM);
    let end = load.end().await;
    assert_eq!(end.code, 1, "{}", end.stderr);
    assert!(published_so_far(&end) > RATE, "{}", end.stdout);
    assert!(end.stderr.contains("more are not published"), "{}", end.stderr);
}

/// A node that goes on when another one is away.
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
async fn a_plain_channel_is_published_to_at_another_node_when_its_own_one_dies() {
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
async fn messages_that_reach_nobody_are_counted() {
    let cluster = Cluster::start().await;
    let mut group = cluster.group(2, &["--shard-tags"]);
    group.wait_for_consumers(2);
    let heard = cluster.publish(100, 2, &["--shard-tags"]);
    assert_eq!(
        (published(&heard), heard.stderr.contains("reached nobody")),
        (100, false),
        "{}",
        heard.stderr
    );
    let half = cluster.publish(100, 4, &["--shard-tags"]);
    assert!(half.stderr.contains("50 of them reached nobody"), "{}", half.stderr);
    let untagged = cluster.publish(100, 2, &[]);
    assert!(untagged.stderr.contains("100 of them reached nobody"), "{}", untagged.stderr);
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "takes half a minute; scripts/test --long runs it"]
    async fn publishing_survives_a_failover_with_the_timeout_that_is_the_default_of_a_cluster() {
        a_primary_dies(Duration::from_secs(15)).await;
    }
}
