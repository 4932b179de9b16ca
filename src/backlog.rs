//! The backlog: how far the consumer group of a stream is behind.

use std::iter::Sum;
use std::time::Duration;

/// How far the consumer group of a stream is behind, as last read from Redis: about a second ago while Redis answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// Entries that no process of the group has read yet. `None` when Redis does not know the number: after a deletion,
    /// or when the group was created at an id.
    pub lag: Option<u64>,
    /// Entries that were read and are not acknowledged yet, by all processes of the group.
    pub pending: u64,
    /// The age of the oldest pending entry.
    pub oldest_pending: Option<Duration>,
    /// Entries in the stream, done or not. For a spill: the number of messages in it.
    pub length: u64,
}

impl Sum for Backlog {
    /// The backlog of several groups together.
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
