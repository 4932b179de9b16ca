//! Sources other than sharded channels, on a cluster.

use std::collections::HashSet;

use redis::{cmd, pipe};
use redis_consumer_group::{Commit, ConsumerGroup, Error, Shards, SourceKind};

use crate::fixture::{Cluster, input, output, settled};
use crate::support::{INPUT, LIMIT, OUTPUT, eventually, payload};

#[tokio::test]
async fn a_plain_channel_is_read_and_appended_to_the_node_that_serves_the_output() {
    let cluster = Cluster::start(1).await;
    let group = ConsumerGroup::builder(cluster.cluster.url()).start().await.unwrap();
    let ids: Vec<String> = (0..1_000).map(|id| id.to_string()).collect();
    // Published at each node in turn, because the cluster forwards plain messages to all nodes.
    for (node, ids) in ids.chunks(334).enumerate() {
        let mut pipeline = pipe();
        for id in ids {
            pipeline.cmd("PUBLISH").arg(INPUT).arg(payload(id)).ignore();
        }
        pipeline.exec_async(&mut cluster.node(node).await).await.unwrap();
    }
    settled(&group, 1_000).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.gaps.count), (1_000, 0), "{ledger}");
    assert_eq!(HashSet::<String>::from_iter(cluster.ids_in(OUTPUT).await), HashSet::from_iter(ids));
}

#[tokio::test]
async fn the_shards_of_a_stream_are_processed_on_their_nodes_even_when_one_is_replaced() {
    let mut cluster = Cluster::start(1).await;
    let mut shards = Shards::new(3);
    shards.tags = true;
    let group = cluster.group(3, true).source(SourceKind::Stream).shards(shards).start().await.unwrap();
    let mut sent: Vec<HashSet<String>> = vec![HashSet::new(); 3];
    for round in 0..2 {
        for (shard, sent) in sent.iter_mut().enumerate() {
            let ids: Vec<_> = (0..1_000).map(|id| (round * 1_000 + id).to_string()).collect();
            let mut pipeline = pipe();
            for id in &ids {
                pipeline
                    .cmd("XADD")
                    .arg(input(shard as u32, true))
                    .arg("*")
                    .arg("message_id")
                    .arg(id)
                    .ignore();
            }
            let appended: Vec<()> = pipeline.query_async(&mut cluster.connection().await).await.unwrap();
            drop(appended);
            sent.extend(ids);
        }
        eventually(LIMIT, "all entries are in the outputs", async || {
            let mut in_all = 0;
            for shard in 0..3 {
                in_all += cluster.ids_in(&output(shard, true)).await.len();
            }
            in_all == (round + 1) * 3_000
        })
        .await;
        if round == 0 {
            // The replica has everything by now, and replaces the primary.
            let primary = cluster.primary_of(&input(0, true)).await;
            let mut wait = cmd("WAIT");
            wait.arg(1).arg(1000);
            let mut connection = cluster.node(primary).await;
            cmd("SET").arg(format!("{{{}}}", 0)).arg(1).exec_async(&mut connection).await.unwrap();
            assert_eq!(wait.query_async::<u64>(&mut connection).await.unwrap(), 1);
            cluster.cluster.node(primary).kill().unwrap();
            cluster.is_replaced(primary).await;
        }
    }
    group.shutdown().await.unwrap();
    for (shard, sent) in sent.into_iter().enumerate() {
        let appended = cluster.ids_in(&output(shard as u32, true)).await;
        assert_eq!(appended.len(), sent.len(), "shard {shard}");
        assert_eq!(HashSet::from_iter(appended), sent, "shard {shard}");
    }
}

#[tokio::test]
async fn a_stream_whose_output_is_in_another_slot_is_refused_unless_it_commits_at_least_once() {
    let cluster = Cluster::start(0).await;
    let group = || ConsumerGroup::builder(cluster.cluster.url()).source(SourceKind::Stream);
    let error = group().start().await.err().unwrap();
    assert!(matches!(error, Error::Config { option: "output", .. }), "{error}");
    // Each key is served by a different node.
    let input = cluster.key_at(0, "input").await;
    let (output, rejected) = (cluster.key_at(1, "output").await, cluster.key_at(2, "rejected").await);
    let group = group().input(&input).output(&output).rejected(&rejected);
    let group = group.commit(Commit::AtLeastOnce).start().await.unwrap();
    let mut connection = cluster.connection().await;
    for id in 0..100 {
        cmd("XADD").arg(&input).arg("*").arg("message_id").arg(id).exec_async(&mut connection).await.unwrap();
    }
    let no_json = cmd("XADD").arg(&input).arg("*").arg("payload").arg("no JSON").to_owned();
    no_json.exec_async(&mut connection).await.unwrap();
    settled(&group, 101).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (100, 1), "{ledger}");
    assert_eq!(cluster.ids_in(&output).await.len(), 100);
    let pending: Vec<redis::Value> =
        cmd("XPENDING").arg(&input).arg("processors").query_async(&mut connection).await.unwrap();
    assert_eq!(pending[0], redis::Value::Int(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_channel_is_received_from_another_node_when_its_own_node_is_down() {
    for freezes in [false, true] {
        let mut cluster = Cluster::start_without_full_coverage(0).await;
        let home = cluster.primary_of(INPUT).await;
        let other = (home + 1) % 3;
        // Everything but the channel is at another node.
        let group = ConsumerGroup::builder(cluster.cluster.nodes()[other].url())
            .output(cluster.key_at(other, "output").await)
            .rejected(cluster.key_at(other, "rejected").await)
            .ids_key(cluster.key_at(other, "ids").await);
        let group = group.start().await.unwrap();
        match freezes {
            true => cluster.cluster.nodes()[home].freeze().unwrap(),
            false => cluster.cluster.node(home).kill().unwrap(),
        }
        let mut publish = cmd("PUBLISH");
        publish.arg(INPUT).arg(payload("1"));
        eventually(LIMIT, "another node delivers it", async || {
            publish.exec_async(&mut cluster.node(other).await).await.unwrap();
            group.ledger().processed > 0
        })
        .await;
        let ledger = group.shutdown().await.unwrap();
        assert_eq!((ledger.gaps.count, ledger.in_flight()), (1, 0), "{ledger}");
    }
}
