//! Servers that form a cluster.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::time::Duration;

use redis_private_server::{PrivateCluster, PrivateServer};

#[tokio::test]
async fn a_cluster_of_three_primaries_and_three_replicas_serves_all_slots() {
    let node_timeout = Duration::from_secs(2);
    let cluster = PrivateCluster::start(PrivateServer::builder, 3, 1, node_timeout).await.unwrap();
    assert_eq!(cluster.nodes().len(), 6);
    let client = redis::Client::open(cluster.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let slots: Vec<(u16, u16, redis::Value, redis::Value)> =
        redis::cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await.unwrap();
    let served: u32 = slots.iter().map(|(first, last, ..)| u32::from(last - first) + 1).sum();
    assert_eq!((slots.len(), served), (3, 16384), "{slots:?}");
}

#[tokio::test]
async fn a_slot_moves_with_its_keys() {
    let node_timeout = Duration::from_secs(2);
    let cluster = PrivateCluster::start(PrivateServer::builder, 2, 0, node_timeout).await.unwrap();
    let slot = cluster.slot_of("key").await.unwrap();
    let from = cluster.primary_of(slot).await.unwrap();
    let client = |node: usize| redis::Client::open(cluster.nodes()[node].url()).unwrap();
    let mut old = client(from).get_multiplexed_async_connection().await.unwrap();
    redis::cmd("SET").arg("key").arg(1).exec_async(&mut old).await.unwrap();
    cluster.move_slot(slot, 1 - from).await.unwrap();
    assert_eq!(cluster.primary_of(slot).await.unwrap(), 1 - from);
    let mut new = client(1 - from).get_multiplexed_async_connection().await.unwrap();
    assert_eq!(redis::cmd("GET").arg("key").query_async::<u64>(&mut new).await.unwrap(), 1);
}
