//! Several private servers that form a cluster.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{Builder, Error, PrivateServer, together::together};

/// How long the nodes may take to form the cluster.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// How often the nodes are asked.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A Redis or Valkey Cluster of private servers, ready about 2 s after its start. Dropping it kills all nodes
/// and removes their folders.
#[must_use = "the servers end when this is dropped"]
#[derive(Debug)]
pub struct PrivateCluster {
    nodes: Vec<PrivateServer>,
    /// The cluster ids of the nodes, in the same order.
    ids: Vec<String>,
    primaries: usize,
}

impl PrivateCluster {
    /// Starts the primaries, which share all slots evenly, and `replicas` per primary. Returns when every node
    /// reports the complete cluster.
    ///
    /// Calls `node` once per node. A failed primary is replaced after `node_timeout` and about a second.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`]; [`Error::Io`] if a node refused a command or the nodes did not find each other in
    /// 30 s.
    pub async fn start(
        node: impl Fn() -> Builder,
        primaries: usize,
        replicas: usize,
        node_timeout: Duration,
    ) -> Result<Self, Error> {
        let nodes = (0..primaries * (1 + replicas)).map(|_| {
            node()
                .arg("cluster-enabled", "yes")
                .arg("cluster-node-timeout", node_timeout.as_millis())
                .arg("repl-diskless-sync-delay", 0)
                .arg("repl-ping-replica-period", 1)
                .start()
        });
        let nodes = together(nodes).await?;
        let mut cluster = Self { nodes, ids: Vec::new(), primaries };
        cluster.join().await.map_err(failed)?;
        Ok(cluster)
    }

    /// The nodes: first the initial primaries in the order of their slots, then the replicas in turn. Node
    /// `primaries + n` is a replica of node `n % primaries`.
    pub fn nodes(&self) -> &[PrivateServer] {
        &self.nodes
    }

    /// One node, to kill, stop or restart it.
    ///
    /// # Panics
    ///
    /// If `index` is out of range.
    pub fn node(&mut self, index: usize) -> &mut PrivateServer {
        &mut self.nodes[index]
    }

    /// The address of the first node.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes[0].url()
    }

    /// The slot of a key or of a sharded channel.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with the answer of the node.
    pub async fn slot_of(&self, key: &str) -> Result<u16, Error> {
        let slot = self.running()?.ask(&format!("CLUSTER KEYSLOT {key}")).await.map_err(failed)?;
        slot.parse().map_err(|error| failed(io::Error::other(error)))
    }

    /// The index of the node that is the primary of a slot, according to the first running node.
    ///
    /// # Errors
    ///
    /// See [`PrivateCluster::slot_of`]; also if no node serves the slot.
    pub async fn primary_of(&self, slot: u16) -> Result<usize, Error> {
        let at = self.primary_at(self.running()?, slot).await.map_err(failed)?;
        at.ok_or_else(|| failed(io::Error::other(format!("nobody serves slot {slot}"))))
    }

    /// The primary of a slot according to `node`. Compares the ids of the nodes, because which of its ports a node
    /// names depends on its version and on how it is asked.
    async fn primary_at(&self, node: &PrivateServer, slot: u16) -> io::Result<Option<usize>> {
        let nodes = node.ask("CLUSTER NODES").await?;
        let serves = |line: &&str| {
            let ranges = line.split(' ').skip(8).filter(|range| !range.starts_with('['));
            line.contains("master")
                && !line.contains("fail")
                && ranges.into_iter().any(|range| holds(range, slot))
        };
        let line = nodes.lines().find(serves);
        Ok(line.and_then(|line| self.ids.iter().position(|id| line.starts_with(id))))
    }

    /// Moves a slot and its keys to another primary step by step, as an administrator does it by hand.
    ///
    /// # Errors
    ///
    /// See [`PrivateCluster::slot_of`].
    pub async fn move_slot(&self, slot: u16, to: usize) -> Result<(), Error> {
        let from = self.primary_of(slot).await?;
        self.hand_over(slot, from, to).await.map_err(failed)
    }

    async fn hand_over(&self, slot: u16, from: usize, to: usize) -> io::Result<()> {
        let (from_id, to_id) = (&self.ids[from], &self.ids[to]);
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        to.ask(&format!("CLUSTER SETSLOT {slot} IMPORTING {from_id}")).await?;
        from.ask(&format!("CLUSTER SETSLOT {slot} MIGRATING {to_id}")).await?;
        loop {
            let keys = from.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 10")).await?;
            if keys.is_empty() {
                break;
            }
            for key in keys.lines() {
                from.ask(&format!("MIGRATE 127.0.0.1 {} \"{key}\" 0 5000", to.port())).await?;
            }
        }
        for node in [to, from] {
            node.ask(&format!("CLUSTER SETSLOT {slot} NODE {to_id}")).await?;
        }
        Ok(())
    }

    /// Moves a slot and its keys to another primary in one atomic migration by the servers. Returns `false` if the
    /// servers do not support that: Redis 8.4 and Valkey 9 do.
    ///
    /// # Errors
    ///
    /// See [`PrivateCluster::slot_of`].
    pub async fn migrate_slot(&self, slot: u16, to: usize) -> Result<bool, Error> {
        let from = self.primary_of(slot).await?;
        self.migrate(slot, from, to).await.map_err(failed)
    }

    async fn migrate(&self, slot: u16, from: usize, to: usize) -> io::Result<bool> {
        let import = format!("CLUSTER MIGRATION IMPORT {slot} {slot}");
        let export = format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {}", self.ids[to]);
        let is_unknown = |error: &io::Error| error.to_string().to_lowercase().contains("unknown subcommand");
        match self.nodes[to].ask(&import).await {
            Err(error) if is_unknown(&error) => match self.nodes[from].ask(&export).await {
                Err(error) if is_unknown(&error) => return Ok(false),
                asked => drop(asked?),
            },
            asked => drop(asked?),
        }
        let deadline = Instant::now() + READY_LIMIT;
        for node in [&self.nodes[to], &self.nodes[from]] {
            while self.primary_at(node, slot).await? != Some(to) {
                if Instant::now() >= deadline {
                    return Err(io::Error::other(format!("slot {slot} did not move")));
                }
                sleep(ASK_EVERY).await;
            }
        }
        Ok(true)
    }

    fn running(&self) -> Result<&PrivateServer, Error> {
        let running = self.nodes.iter().find(|node| node.pid().is_some());
        running.ok_or_else(|| Error::NotRunning { addr: self.nodes[0].addr() })
    }

    async fn join(&mut self) -> io::Result<()> {
        const SLOTS: usize = 16384;
        for (at, node) in self.nodes.iter().enumerate() {
            self.ids.push(node.ask("CLUSTER MYID").await?);
            node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1)).await?;
            if at < self.primaries {
                let (first, end) = (at * SLOTS / self.primaries, (at + 1) * SLOTS / self.primaries);
                node.ask(&format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1)).await?;
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[..at] {
                node.ask(&format!("CLUSTER MEET 127.0.0.1 {}", other.port())).await?;
            }
        }
        let deadline = Instant::now() + READY_LIMIT;
        for (at, node) in self.nodes.iter().enumerate().skip(self.primaries) {
            let replicate = format!("CLUSTER REPLICATE {}", self.ids[at % self.primaries]);
            // Fails until the node knows its primary.
            while let Err(error) = node.ask(&replicate).await {
                if Instant::now() >= deadline {
                    return Err(error);
                }
                sleep(ASK_EVERY).await;
            }
        }
        for node in &self.nodes {
            while !self.is_known_to(node).await? {
                if Instant::now() >= deadline {
                    return Err(io::Error::other(format!(
                        "{} does not find the cluster in order",
                        node.addr()
                    )));
                }
                sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Whether the node knows the roles of all others, and has its primary's data if it is a replica.
    async fn is_known_to(&self, node: &PrivateServer) -> io::Result<bool> {
        let (info, nodes) = (node.ask("CLUSTER INFO").await?, node.ask("CLUSTER NODES").await?);
        let replicas = nodes.lines().filter(|line| line.contains("slave")).count();
        let replication = node.ask("INFO replication").await?;
        Ok(info.contains("cluster_state:ok")
            && nodes.lines().count() == self.nodes.len()
            && !nodes.contains("handshake")
            && replicas == self.nodes.len() - self.primaries
            && !replication.contains("master_link_status:down"))
    }
}

/// Whether a range of `CLUSTER NODES`, such as `0-5460` or `7`, contains this slot.
fn holds(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let bounds = first.parse::<u16>().ok().zip(last.parse::<u16>().ok());
    bounds.is_some_and(|(first, last)| (first..=last).contains(&slot))
}

fn failed(error: io::Error) -> Error {
    Error::io("form a cluster")(error)
}
