//! The backlog: how far behind the group of a stream is.

use std::iter::Sum;
use std::time::Duration;

/// How far behind the group of a stream is, as it was when Redis last told it: a second ago, while it can be asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Entries that no process of the group has read yet. `None` where Redis does not know it: after a deletion, or
    /// when the group was created at an id.
    pub lag: Option<u64>,
    /// Entries that were read and are not acknowledged yet, by all processes of the group.
    pub pending: u64,
    /// How long ago the oldest of them was appended.
    pub oldest_pending: Option<Duration>,
    /// Entries of the stream, done or not. Of a spill: how many messages are in it.
    pub length: u64,
}

impl Sum for Backlog {
    /// How far behind several groups are together.
    fn sum<I: Iterator<Item = Self>>(backlogs: I) -> Self {
        let none = Self { lag: Some(0), ..Self::default() };
        backlogs.fold(none, |sum, backlog| Self {
            lag: sum.lag.zip(backlog.lag).map(|(sum, lag)| sum + lag),
            pending: sum.pending + backlog.pending,
            oldest_pending: sum.oldest_pending.max(backlog.oldest_pending),
            length: sum.length + backlog.length,
        })
    }
}
