//! A group with nothing to do.

use serde::{Deserialize, Serialize};

/// What consumers cost that wait for messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) consumers: usize,
    /// How long it was looked at, after its start had settled.
    pub(crate) seconds: f64,
    /// CPU that the group's process had meanwhile, in seconds.
    pub(crate) cpu_seconds: f64,
    /// The group's process, from its start to its end, where the system tells it.
    pub(crate) peak_memory: Option<u64>,
}

impl Idle {
    /// The part of one core that the group took. More than 1 where it took more than one.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }
}
