//! Dropped messages, for hooks.

use std::fmt;

/// Messages that were dropped at the same time for the same cause. See
/// [`Builder::on_drop`](crate::Builder::on_drop).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// How many.
    pub count: u64,
    /// The channel that they came from.
    pub channel: String,
    /// The number of the shard, if the input has any.
    pub shard: Option<u32>,
    /// Why they were dropped.
    pub cause: DropCause,
}

/// Why messages were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropCause {
    /// The [buffer](crate::Config::buffer) is full.
    BufferFull,
    /// The buffer is full, and the spill has [`Config::spill_max`](crate::Config::spill_max) messages.
    SpillFull,
    /// The buffer is full, and Redis does not accept messages into the spill.
    SpillUnavailable,
}

impl DropCause {
    /// What the log says after "the buffer is full".
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::BufferFull => "; enlarge the buffer",
            Self::SpillFull => ", and so is the spill; enlarge one of them",
            Self::SpillUnavailable => {
                ", and Redis takes nothing into the spill; check its memory and its connections, or enlarge the buffer"
            }
        }
    }
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BufferFull => "the buffer is full",
            Self::SpillFull => "the buffer and the spill are full",
            Self::SpillUnavailable => "the buffer is full, and Redis accepts nothing into the spill",
        })
    }
}
