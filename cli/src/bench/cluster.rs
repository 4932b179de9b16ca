//! Private clusters that are measured. Each ends when it is dropped.

use std::time::Duration;

use anyhow::bail;
use redis::{Value, cmd};
use redis_consumer_group::Tls;
use redis_private_server::{PrivateCluster, PrivateServer};

use super::environment::{Environment, Usage};
use super::role::protocol::{INPUT, of_shard};

/// A private cluster without replicas.
pub(crate) struct Cluster {
    /// A connection to each node, in the order of the cluster's nodes.
    pub(crate) nodes: Vec<Environment>,
    servers: PrivateCluster,
}

impl Cluster {
    /// A cluster of this number of primaries, without output buffer limits for subscribers.
    ///
    /// # Errors
    /// If no server is installed, or the cluster does not start.
    pub(crate) async fn start(primaries: usize) -> anyhow::Result<Self> {
        /// The default of Redis: a node that waits for a core has not failed.
        const NODE_TIMEOUT: Duration = Duration::from_secs(15);
        let node = || PrivateServer::builder().arg("client-output-buffer-limit", "pubsub 0 0 0");
        let servers = PrivateCluster::start(node, primaries, 0, NODE_TIMEOUT).await?;
        let mut nodes = Vec::new();
        for server in servers.nodes() {
            nodes.push(Environment::given(server.url().parse()?, &Tls::default()).await?);
        }
        Ok(Self { nodes, servers })
    }

    /// For each node this number of shards that it serves, with the lowest possible numbers.
    pub(crate) async fn shards(&mut self, each: usize) -> anyhow::Result<Vec<Vec<u32>>> {
        /// The number of slots of a cluster.
        const MOST: u32 = 16384;
        type Range = (u16, u16, (String, u16, Value, Value));
        let ranges: Vec<Range> = self.nodes[0].ask(cmd("CLUSTER").arg("SLOTS")).await?;
        let ports: Vec<_> = self.servers.nodes().iter().map(PrivateServer::port).collect();
        let mut shards = vec![Vec::new(); ports.len()];
        for shard in 0..MOST {
            if shards.iter().all(|of_node| of_node.len() == each) {
                return Ok(shards);
            }
            let key_slot = cmd("CLUSTER").arg("KEYSLOT").arg(of_shard(INPUT, shard)).to_owned();
            let slot: u16 = self.nodes[0].ask(&key_slot).await?;
            let range = ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
            let node = range.and_then(|(.., (_, port, ..))| ports.iter().position(|other| other == port));
            if let Some(of_node) = node.map(|node| &mut shards[node]).filter(|shards| shards.len() < each) {
                of_node.push(shard);
            }
        }
        bail!(
            "a cluster of {} nodes does not have {each} shards for each node; use fewer --shards",
            ports.len()
        )
    }

    /// The CPU that each node has used since its start.
    pub(crate) async fn usage(&mut self) -> anyhow::Result<Vec<Usage>> {
        let mut usage = Vec::new();
        for node in &mut self.nodes {
            usage.push(node.usage().await?);
        }
        Ok(usage)
    }
}
