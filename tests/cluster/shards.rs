//! Each shard is a group of its own.

use std::collections::HashSet;

use redis::cmd;
use redis_consumer_group::{ShardSet, Shards};

use crate::fixture::{Cluster, input, output, settled};
use crate::support::IDS;

#[tokio::test]
async fn each_message_of_a_shard_is_appended_to_its_output_once() {
    for tags in [false, true] {
        let cluster = Cluster::start(0).await;
        let group = cluster.group(5, tags).start().await.unwrap();
        let mut published = Vec::new();
        for shard in 0..5 {
            published.push(cluster.publish(&input(shard, tags), 1_000).await);
        }
        settled(&group, 5_000).await;
        for (at, shard) in group.handle().shards().iter().enumerate() {
            assert_eq!((shard.number(), shard.figures().ledger.processed), (Some(at as u32), 1_000));
        }
        let ledger = group.shutdown().await.unwrap();
        assert_eq!((ledger.received, ledger.processed, ledger.gaps.count), (5_000, 5_000, 0), "{ledger}");
        for (shard, published) in published.into_iter().enumerate() {
            let appended = cluster.ids_in(&output(shard as u32, tags)).await;
            assert_eq!(appended.len(), 1_000);
            assert_eq!(HashSet::<String>::from_iter(appended), HashSet::from_iter(published));
        }
    }
}

#[tokio::test]
async fn each_shard_has_its_own_ids_and_removes_them_at_its_end() {
    let cluster = Cluster::start(0).await;
    let group = cluster.group(3, false).start().await.unwrap();
    let mut connection = cluster.connection().await;
    for shard in group.handle().shards() {
        let key = format!("{IDS}:{}", shard.number().unwrap());
        let ids: Vec<String> =
            cmd("LRANGE").arg(&key).arg(0).arg(-1).query_async(&mut connection).await.unwrap();
        let expected: Vec<_> = shard.consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
        assert_eq!(ids, expected);
        assert!(shard.consumers().iter().all(|consumer| consumer.shard() == shard.number()));
    }
    assert_eq!(group.handle().consumers().len(), 6);
    group.shutdown().await.unwrap();
    for node in 0..3 {
        assert_eq!(cluster.at::<Vec<String>>(node, "KEYS *").await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn two_processes_share_the_shards() {
    let cluster = Cluster::start(0).await;
    let only = |shards: &str| {
        let mut sharding = Shards::new(4);
        sharding.only = Some(shards.parse::<ShardSet>().unwrap());
        sharding
    };
    let one = cluster.group(4, false).shards(only("0,3")).start().await.unwrap();
    let other = cluster.group(4, false).shards(only("1-2")).start().await.unwrap();
    for shard in 0..4 {
        cluster.publish(&input(shard, false), 100).await;
    }
    settled(&one, 200).await;
    settled(&other, 200).await;
    assert_eq!(one.handle().shards().iter().map(|shard| shard.number().unwrap()).collect::<Vec<_>>(), [0, 3]);
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
    for shard in 0..4 {
        assert_eq!(cluster.ids_in(&output(shard, false)).await.len(), 100);
    }
}
