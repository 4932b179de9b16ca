//! `publish --shards` while slots move and nodes are away.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use support::cluster::{Cluster, eventually};
use support::{PATIENCE, Running, published};

#[tokio::test]
async fn publishing_follows_a_slot_that_moves() {
    let cluster = Cluster::start().await;
    let publish = ["publish", "--shards", "2", "--rate", "2000", "--count", "6000"];
    let load = Running::start(&mut cluster.program(&publish));
    let by_all = || (0..3).map(|node| cluster.published_by(node)).sum::<u64>();
    eventually("messages are published", PATIENCE, || by_all() > 500).await;
    let slot = cluster.0.slot_of("messages:published:0").await.unwrap();
    let from = cluster.0.primary_of(slot).await.unwrap();
    cluster.0.move_slot(slot, (from + 1) % 3).await.unwrap();
    let end = load.end().await;
    assert_eq!(published(&end), 6_000, "{}", end.stderr);
    assert_eq!(by_all(), 6_000);
}

#[tokio::test]
async fn publishing_ends_with_the_number_so_far_where_nobody_takes_the_place_of_a_node() {
    let mut cluster = Cluster::start().await;
    let publish = ["publish", "--shards", "64", "--rate", "2000", "--duration", "60s"];
    let load = Running::start(&mut cluster.program(&publish));
    let dead = cluster.0.nodes()[2].addr();
    eventually("messages are published", PATIENCE, || cluster.published_by(2) > 0).await;
    cluster.0.node(2).kill().unwrap();
    let end = load.end().await;
    assert_eq!(end.code, 69, "{}", end.stderr);
    assert!(end.stdout.starts_with("Published "), "{}", end.stdout);
    assert!(end.stderr.contains(&dead) || end.stderr.contains("CLUSTERDOWN"), "{}", end.stderr);
    assert!(end.stderr.contains("redis-cli --cluster check"), "{}", end.stderr);
}
