//! A burst that the buffer does not hold.

use serde::{Deserialize, Serialize};

use super::Run;

/// A burst, and what of it was in the spill meanwhile. The run ends when all of that is in the output as well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spill {
    pub(crate) run: Run,
    /// The memory that waiting messages may hold.
    pub(crate) buffer: u64,
    /// Messages that found it full and went into the spill.
    pub(crate) spilled: u64,
    /// Messages that were read back.
    pub(crate) drained: u64,
    /// The most that were in the spill at once.
    pub(crate) most: u64,
}

impl Spill {
    /// Whether each message is in the output, once, and everything that was spilled was read back.
    pub(crate) fn is_flawless(&self) -> bool {
        self.run.delivery.is_flawless() && self.spilled == self.drained
    }
}
