//! The figures of a running group, or of one of its shards.

use std::time::Duration;

use crate::backlog::Backlog;
use crate::ledger::Ledger;
use crate::status::State;

/// The figures of a group at one moment, or of one of its shards. See [`Handle::figures`](crate::Handle::figures) and
/// [`Shard::figures`](crate::Shard::figures).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Figures {
    /// The number of the shard. `None` for a whole group.
    pub shard: Option<u32>,
    /// The state. With shards, the worst state of a shard.
    pub state: State,
    /// The total time that it was [`Disconnected`](State::Disconnected). With shards, the time that any of them was.
    pub disconnected: Duration,
    /// The counts of all messages so far.
    pub ledger: Ledger,
    /// Messages whose commit was confirmed within the last second.
    pub processed_last_second: u64,
    /// How far the consumer group of the stream is behind, and with [`Overflow::Spill`](crate::Overflow::Spill) how
    /// many messages are in the spill. Updated once a second. `None` without a stream, and before the first update.
    pub backlog: Option<Backlog>,
    /// How full the buffer is. With shards, the sum of their buffers.
    pub buffer: BufferUse,
    /// Messages that wait for their next attempt.
    pub retries_waiting: usize,
}

/// How full the buffer of received messages is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferUse {
    /// Bytes that received messages hold. May exceed the limit when a single batch is larger than the whole buffer. See
    /// [`Config::buffer`](crate::Config::buffer).
    pub used: usize,
    /// The limit, in bytes.
    pub limit: usize,
}

impl Figures {
    /// The figures of all these shards together, for a group in this state.
    pub(super) fn sum(shards: &[Self], state: State, disconnected: Duration) -> Self {
        let buffer = |sum: BufferUse, shard: &Self| BufferUse {
            used: sum.used + shard.buffer.used,
            limit: sum.limit + shard.buffer.limit,
        };
        Self {
            shard: None,
            state,
            disconnected,
            ledger: shards.iter().map(|shard| shard.ledger.clone()).sum(),
            processed_last_second: shards.iter().map(|shard| shard.processed_last_second).sum(),
            backlog: shards.iter().map(|shard| shard.backlog).sum(),
            buffer: shards.iter().fold(BufferUse::default(), buffer),
            retries_waiting: shards.iter().map(|shard| shard.retries_waiting).sum(),
        }
    }
}

/// The figures of a group that has not started: ended, and all counts are 0.
impl Default for Figures {
    fn default() -> Self {
        Self {
            shard: None,
            state: State::Ended,
            disconnected: Duration::ZERO,
            ledger: Ledger::default(),
            processed_last_second: 0,
            backlog: None,
            buffer: BufferUse::default(),
            retries_waiting: 0,
        }
    }
}

impl BufferUse {
    /// How much of the buffer is used, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { 100.0 * self.used as f64 / self.limit as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_shown_in_percent() {
        assert_eq!(BufferUse { used: 64, limit: 256 }.percent(), 25.0);
        assert_eq!(BufferUse::default().percent(), 0.0);
    }

    #[test]
    fn the_figures_of_a_group_are_those_of_its_shards_together() {
        let shard = |number: u32| {
            let count = u64::from(number);
            Figures {
                shard: Some(number),
                ledger: Ledger { received: count, ..Ledger::default() },
                processed_last_second: count,
                backlog: Some(Backlog { pending: count, ..Backlog::default() }),
                buffer: BufferUse { used: 1, limit: 10 },
                retries_waiting: 2,
                ..Figures::default()
            }
        };
        let disconnected = Duration::from_secs(5);
        let all = Figures::sum(&[shard(1), shard(2)], State::Connected, disconnected);
        assert_eq!((all.shard, all.state, all.disconnected), (None, State::Connected, disconnected));
        assert_eq!((all.ledger.received, all.processed_last_second), (3, 3));
        assert_eq!(all.backlog.unwrap().pending, 3);
        assert_eq!((all.buffer, all.retries_waiting), (BufferUse { used: 2, limit: 20 }, 4));
        assert_eq!(Figures::default().state, State::Ended);
    }
}
