//! The start of the tests: a cluster, and messages for its shards.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, cmd, pipe};
use redis_consumer_group::{Builder, ConsumerGroup, JsonProcessor, Shards, SourceKind};
use redis_private_server::{PrivateCluster, PrivateServer};
use tokio::time::Instant;
use uuid::Uuid;

use crate::support::{INPUT, LIMIT, OUTPUT, command, eventually, payload};

/// A private cluster with methods to inspect its data.
pub(crate) struct Cluster {
    pub(crate) cluster: PrivateCluster,
    client: ClusterClient,
}

impl Cluster {
    /// Starts three primaries, each with this many replicas.
    pub(crate) async fn start(replicas: usize) -> Self {
        Self::start_with(PrivateServer::builder, replicas).await
    }

    /// The same, but the remaining nodes keep serving their slots while others are down.
    pub(crate) async fn start_without_full_coverage(replicas: usize) -> Self {
        Self::start_with(|| PrivateServer::builder().arg("cluster-require-full-coverage", "no"), replicas)
            .await
    }

    pub(crate) async fn start_with(
        node: impl Fn() -> redis_private_server::Builder,
        replicas: usize,
    ) -> Self {
        let cluster = match PrivateCluster::start(node, 3, replicas, Duration::from_millis(1000)).await {
            Ok(cluster) => cluster,
            Err(error) => panic!("{error}"),
        };
        let nodes = cluster.nodes().iter().map(|node| node.url()).collect::<Vec<_>>();
        let client = ClusterClientBuilder::new(nodes)
            .response_timeout(Duration::from_secs(2))
            .connection_timeout(Duration::from_secs(1))
            .retries(0)
            .build()
            .unwrap();
        Self { cluster, client }
    }

    /// A builder for a group of this many shards at this cluster.
    pub(crate) fn group(&self, shards: u32, tags: bool) -> Builder<JsonProcessor> {
        let mut sharding = Shards::new(shards);
        sharding.tags = tags;
        ConsumerGroup::builder(self.cluster.url())
            .source(SourceKind::Sharded)
            .shards(sharding)
            .consumers(2)
            .lease(Duration::from_secs(2))
    }

    /// A connection of a cluster client, which follows slots that move.
    pub(crate) async fn connection(&self) -> ClusterConnection {
        let mut last = None;
        for _ in 0..100 {
            match self.client.get_async_connection().await {
                Ok(connection) => return connection,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no connection to the cluster: {last:?}");
    }

    /// A connection to one node.
    pub(crate) async fn node(&self, at: usize) -> MultiplexedConnection {
        let client = redis::Client::open(self.cluster.nodes()[at].unix_url()).unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Runs a command given as words at one node.
    pub(crate) async fn at<T: FromRedisValue>(&self, node: usize, words: &str) -> T {
        match command(words).query_async(&mut self.node(node).await).await {
            Ok(answer) => answer,
            Err(error) => panic!("{words}: {error}"),
        }
    }

    /// Publishes this many messages to the channel of a shard, and returns their ids.
    pub(crate) async fn publish(&self, channel: &str, count: usize) -> Vec<String> {
        publish(&mut self.connection().await, channel, count).await
    }

    /// The `message_id`s in a stream, in order.
    pub(crate) async fn ids_in(&self, stream: &str) -> Vec<String> {
        type Entries = Vec<(String, Vec<(String, String)>)>;
        let mut connection = self.connection().await;
        let entries: Entries =
            cmd("XRANGE").arg(stream).arg("-").arg("+").query_async(&mut connection).await.unwrap();
        entries
            .into_iter()
            .map(|(_, fields)| fields.into_iter().find(|(name, _)| name == "message_id").unwrap().1)
            .collect()
    }

    /// The node that currently serves a key.
    pub(crate) async fn primary_of(&self, key: &str) -> usize {
        let slot = self.cluster.slot_of(key).await.unwrap();
        self.cluster.primary_of(slot).await.unwrap()
    }

    /// A key with this prefix that this node serves.
    pub(crate) async fn key_at(&self, node: usize, name: &str) -> String {
        for n in 0..1_000 {
            let key = format!("{name}{n}");
            if self.primary_of(&key).await == node {
                return key;
            }
        }
        panic!("node {node} serves no key that begins with {name}");
    }

    /// Waits until a replica has become a primary and has a subscriber to the channel. Returns the time between the
    /// two.
    pub(crate) async fn is_subscribed_after_promotion(&self, replica: usize, channel: &str) -> Duration {
        let node = &mut self.node(replica).await;
        let promoted = async || {
            let info: String = cmd("INFO").arg("replication").query_async(&mut node.clone()).await.unwrap();
            info.contains("role:master")
        };
        eventually(LIMIT, "the replica is promoted", promoted).await;
        let since = Instant::now();
        let subscribed = async || {
            let mut ask = cmd("PUBSUB");
            let (_, heard): (String, u64) =
                ask.arg("SHARDNUMSUB").arg(channel).query_async(&mut node.clone()).await.unwrap();
            heard > 0
        };
        eventually(LIMIT, "the channel is subscribed at the promoted node", subscribed).await;
        since.elapsed()
    }

    /// Waits until the replica of a killed primary has replaced it, and all nodes know that.
    pub(crate) async fn is_replaced(&self, primary: usize) {
        let running = self.cluster.nodes().iter().enumerate().filter(|(_, node)| node.pid().is_some());
        for (node, _) in running {
            eventually(LIMIT, "all nodes find the cluster in order", async || {
                let nodes: String = self.at(node, "CLUSTER NODES").await;
                let port = format!(":{}@", self.cluster.nodes()[primary].port());
                let dead = nodes.lines().find(|line| line.contains(&port));
                let info: String = self.at(node, "CLUSTER INFO").await;
                info.contains("cluster_state:ok") && dead.is_none_or(|dead| dead.contains(",fail "))
            })
            .await;
        }
    }

    /// Waits until all nodes run and know each other, and every replica has the data of its primary.
    pub(crate) async fn is_in_order(&self) {
        for node in 0..self.cluster.nodes().len() {
            eventually(LIMIT, "all nodes find the cluster in order", async || {
                let nodes: String = self.at(node, "CLUSTER NODES").await;
                let info: String = self.at(node, "CLUSTER INFO").await;
                let replication: String = self.at(node, "INFO replication").await;
                info.contains("cluster_state:ok")
                    && !nodes.contains("fail")
                    && !replication.contains("master_link_status:down")
            })
            .await;
        }
    }
}

/// Publishes this many messages to a sharded channel, checks that each reaches a subscriber, and returns their ids.
pub(crate) async fn publish(connection: &mut ClusterConnection, channel: &str, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|_| Uuid::new_v4().to_string()).collect();
    for chunk in ids.chunks(1000) {
        let mut pipeline = pipe();
        for id in chunk {
            pipeline.cmd("SPUBLISH").arg(channel).arg(payload(id));
        }
        let heard: Vec<u64> = pipeline.query_async(connection).await.unwrap();
        assert!(heard.iter().all(|heard| *heard == 1), "nobody is subscribed to {channel}");
    }
    ids
}

/// The channel of a shard.
pub(crate) fn input(shard: u32, tags: bool) -> String {
    named(INPUT, shard, tags)
}

/// The stream of a shard.
pub(crate) fn output(shard: u32, tags: bool) -> String {
    named(OUTPUT, shard, tags)
}

fn named(name: &str, shard: u32, tags: bool) -> String {
    if tags { format!("{name}:{{{shard}}}") } else { format!("{name}:{shard}") }
}

/// Waits until every received message is settled.
pub(crate) async fn settled(group: &ConsumerGroup, messages: usize) {
    eventually(LIMIT, &format!("{messages} messages are settled"), async || {
        let ledger = group.ledger();
        ledger.received >= messages as u64 && ledger.in_flight() == 0
    })
    .await;
}
