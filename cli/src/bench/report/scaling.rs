//! A group over clusters of several sizes.

use serde::{Deserialize, Serialize};

use super::Run;

/// All runs over clusters of one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scaling {
    /// Primaries; there are no replicas.
    pub(crate) nodes: usize,
    /// In all, evenly over the nodes.
    pub(crate) shards: usize,
    pub(crate) runs: Vec<Scaled>,
}

/// One run. The servers' CPU is that of all nodes together, and what is told as busy is the nodes' mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scaled {
    pub(crate) run: Run,
    /// The part of the time that each node's main thread was busy: 0 to 1.
    pub(crate) busy: Vec<f64>,
    /// The group's thread that reads and commits for all shards: a part of the group's CPU, in µs a message. `None`
    /// where not everything was appended.
    pub(crate) thread_cpu_us: Option<f64>,
    /// How many commits it took.
    pub(crate) commits: u64,
}

impl Scaled {
    /// How many messages one commit has, on average.
    pub(crate) fn commit_size(&self) -> f64 {
        self.run.delivery.processed as f64 / self.commits as f64
    }
}
