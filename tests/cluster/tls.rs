//! A cluster that uses TLS.

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Shards, SourceKind, Tls};
use redis_private_server::{Certificates, ClientCertificates, PrivateCluster, PrivateServer};

use crate::fixture::{input, output, settled};
use crate::support::{LIMIT, eventually, payload};

/// Publishes this many messages to each of the first three shards, at the shard's node, through its Unix socket.
async fn publish(cluster: &PrivateCluster, count: usize) {
    for shard in 0..3 {
        let channel = input(shard, true);
        let slot = cluster.slot_of(&channel).await.unwrap();
        let node = &cluster.nodes()[cluster.primary_of(slot).await.unwrap()];
        let client = redis::Client::open(node.unix_url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        for id in 0..count {
            let mut spublish = redis::cmd("SPUBLISH");
            let spublish = spublish.arg(&channel).arg(payload(&id.to_string()));
            assert_eq!(spublish.query_async::<u64>(&mut connection).await.unwrap(), 1);
        }
    }
}

#[tokio::test]
async fn every_connection_to_a_node_uses_tls_even_after_a_slot_has_moved() {
    let certificates = Certificates::make().unwrap();
    let node = || PrivateServer::builder().tls_with(ClientCertificates::Required, &certificates);
    let cluster = PrivateCluster::start(node, 3, 0, Duration::from_secs(1)).await.unwrap();
    assert!(cluster.url().starts_with("rediss://"));
    let mut tls = Tls::default();
    tls.ca = Some(certificates.ca().to_owned());
    tls.cert = Some(certificates.client().to_owned());
    tls.key = Some(certificates.client_key().to_owned());
    let mut shards = Shards::new(3);
    shards.tags = true;
    let group = ConsumerGroup::builder(cluster.url()).tls(tls).source(SourceKind::Sharded).shards(shards);
    let group = group.start().await.unwrap();
    publish(&cluster, 100).await;
    settled(&group, 300).await;
    let slot = cluster.slot_of(&input(0, true)).await.unwrap();
    let to = (cluster.primary_of(slot).await.unwrap() + 1) % 3;
    cluster.move_slot(slot, to).await.unwrap();
    let moved = &group.handle().shards()[0];
    eventually(LIMIT, "the shard is read at its new node", async || {
        moved.figures().ledger.gaps.latest.len() == 1
    })
    .await;
    publish(&cluster, 100).await;
    settled(&group, 600).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.gaps.count), (600, 1), "{ledger}");
    let client = redis::Client::open(cluster.nodes()[to].unix_url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let length: u64 = redis::cmd("XLEN").arg(output(0, true)).query_async(&mut connection).await.unwrap();
    assert_eq!(length, 200);
}
