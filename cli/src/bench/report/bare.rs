//! What moving a stream takes at the least.

use serde::{Deserialize, Serialize};

/// One run without a group: one connection that reads 256 entries, and then appends and acknowledges them in one
/// transaction, again and again. Nothing is processed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bare {
    pub(crate) messages: u64,
    /// From the first read to the last confirmed append.
    pub(crate) seconds: f64,
    pub(crate) server_cpu_us: f64,
    /// The process that moves them.
    pub(crate) mover_cpu_us: f64,
    /// The part of the time that the server's main thread was busy: 0 to 1.
    pub(crate) busy: f64,
}

impl Bare {
    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }
}
