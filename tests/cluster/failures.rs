//! Nodes that die, freeze and come back.

use std::time::Duration;

use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep, sleep_until};

use crate::fixture::{Cluster, input};
use crate::load::{Load, Witness};
use crate::pauses::Pauses;
use crate::proxy::Proxy;
use crate::support::{LIMIT, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_is_replaced_and_other_shards_never_stop() {
    let mut cluster = Cluster::start_without_full_coverage(1).await;
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true)).start().await.unwrap();
    let load = Load::start(&cluster, 0..3, true, 1_000);
    load.reaches_all(&group).await;
    let channel = input(0, true);
    let dead = cluster.primary_of(&channel).await;
    let pauses = Pauses::of(&group);
    cluster.cluster.node(dead).kill().unwrap();
    let back = cluster.is_subscribed_after_promotion(dead + 3, &channel).await;
    cluster.is_replaced(dead).await;
    load.reaches_all(&group).await;
    let pauses = pauses.end().await;
    println!("subscribed {back:.1?} after the promotion; the shards stood still for {pauses:.2?} at most");
    assert!(pauses[1..].iter().all(|pause| *pause < pauses[0] / 2), "{pauses:?}");
    let ledgers = load.end(&cluster, group, &witness).await;
    assert!(ledgers[0].gaps.count > 0, "{ledgers:?}");
    assert!(ledgers[1..].iter().all(|ledger| ledger.gaps.count == 0), "{ledgers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_primary_is_killed_in_turn_and_comes_back() {
    let mut cluster = Cluster::start(1).await;
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true)).start().await.unwrap();
    let load = Load::start(&cluster, 0..3, true, 1_000);
    load.reaches_all(&group).await;
    for primary in 0..3 {
        cluster.cluster.node(primary).kill().unwrap();
        cluster.is_replaced(primary).await;
        load.reaches_all(&group).await;
        // The node is empty now, and becomes a replica of the node that replaced it.
        cluster.cluster.node(primary).restart().await.unwrap();
        cluster.is_in_order().await;
        load.reaches_all(&group).await;
    }
    load.end(&cluster, group, &witness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn received_messages_are_appended_once_when_all_nodes_restart() {
    let mut cluster = Cluster::start_with(|| PrivateServer::builder().appendonly_always(), 0).await;
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true)).start().await.unwrap();
    let load = Load::start(&cluster, 0..3, true, 1_000);
    load.reaches_all(&group).await;
    for node in 0..3 {
        cluster.cluster.node(node).kill().unwrap();
    }
    for node in 0..3 {
        cluster.cluster.node(node).restart().await.unwrap();
    }
    load.reaches_all(&group).await;
    load.end(&cluster, group, &witness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_follows_a_failover_by_hand() {
    let cluster = Cluster::start(1).await;
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true)).start().await.unwrap();
    let load = Load::start(&cluster, 0..3, true, 1_000);
    load.reaches_all(&group).await;
    let primary = cluster.primary_of(&input(0, true)).await;
    cluster.at::<()>(primary + 3, "CLUSTER FAILOVER").await;
    eventually(LIMIT, "the replica is the primary", async || {
        cluster.primary_of(&input(0, true)).await == primary + 3
    })
    .await;
    load.reaches_all(&group).await;
    let ledgers = load.end(&cluster, group, &witness).await;
    assert!(ledgers[1..].iter().all(|ledger| ledger.gaps.count == 0), "{ledgers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_freezes_for_ten_seconds_is_replaced_and_comes_back() {
    let cluster = Cluster::start_without_full_coverage(1).await;
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true)).start().await.unwrap();
    let load = Load::start(&cluster, 0..3, true, 1_000);
    load.reaches_all(&group).await;
    let channel = input(0, true);
    let frozen = cluster.primary_of(&channel).await;
    let pauses = Pauses::of(&group);
    cluster.cluster.nodes()[frozen].freeze().unwrap();
    let frozen_at = Instant::now();
    let back = cluster.is_subscribed_after_promotion(frozen + 3, &channel).await;
    // The test: a node that is silent for 10 s.
    sleep_until(frozen_at + Duration::from_secs(10)).await;
    load.reaches_all(&group).await;
    cluster.cluster.nodes()[frozen].thaw().unwrap();
    sleep(Duration::from_secs(2)).await;
    load.reaches_all(&group).await;
    let pauses = pauses.end().await;
    println!("subscribed {back:.1?} after the promotion; the shards stood still for {pauses:.2?} at most");
    assert!(pauses[1..].iter().all(|pause| *pause < pauses[0] / 2), "{pauses:?}");
    let ledgers = load.end(&cluster, group, &witness).await;
    assert!(ledgers[1..].iter().all(|ledger| ledger.gaps.count == 0), "{ledgers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_notices_and_survives_a_network_that_drops_all_traffic_of_one_node() {
    let cluster = Cluster::start_without_full_coverage(0).await;
    let node = cluster.primary_of(&input(0, true)).await;
    let proxy = Proxy::before(cluster.cluster.nodes()[node].addr()).await;
    cluster.at::<()>(node, &format!("CONFIG SET cluster-announce-port {}", proxy.port)).await;
    for other in 0..3 {
        eventually(LIMIT, "all nodes send clients to the proxy", async || {
            let nodes: String = cluster.at(other, "CLUSTER NODES").await;
            nodes.contains(&format!("127.0.0.1:{}@", proxy.port))
        })
        .await;
    }
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true)).start().await.unwrap();
    // From now on only the group connects through the proxy: the load does not use this node.
    let load = Load::start(&cluster, 1..3, true, 1_000);
    for shard in &group.handle().shards()[1..] {
        load.reaches(shard).await;
    }
    let before = proxy.connections();
    let pauses = Pauses::of(&group);
    proxy.close();
    eventually(Duration::from_secs(6), "the silence is noticed", async || proxy.connections() > before).await;
    for shard in &group.handle().shards()[1..] {
        load.reaches(shard).await;
    }
    let pauses = pauses.end().await;
    assert!(pauses[1..].iter().all(|pause| *pause < pauses[0] / 2), "{pauses:?}");
    proxy.open();
    let shard = &group.handle().shards()[0];
    eventually(LIMIT, "what is published behind the proxy is received", async || {
        let node = &mut cluster.node(node).await;
        redis::cmd("SPUBLISH").arg(input(0, true)).arg(0).exec_async(node).await.unwrap();
        shard.figures().ledger.received > 0
    })
    .await;
    let ledgers = load.end(&cluster, group, &witness).await;
    assert!(ledgers[1..].iter().all(|ledger| ledger.gaps.count == 0), "{ledgers:?}");
}
