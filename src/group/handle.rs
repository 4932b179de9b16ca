//! The handle: shows the figures of a running group and stops it, from anywhere in the program.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shard;
use crate::backlog::Backlog;
use crate::consumer::Consumer;
use crate::ledger::Ledger;
use crate::status::State;

/// A handle to a running group, for health checks, metrics and shutdown code. All clones refer to the same group.
///
/// A handle does not keep the group running: the [`ConsumerGroup`](super::ConsumerGroup) does. After the end, a handle
/// shows the last figures.
#[derive(Clone)]
pub struct Handle {
    group: Arc<Group>,
}

/// State that all handles to a group share.
struct Group {
    consumers: Vec<Consumer>,
    /// One shard without a number, or one for each shard. Never empty.
    shards: Vec<Shard>,
    /// Shared by all shards: see [`Shared`](super::engine::Shared).
    stop: CancellationToken,
    abort: CancellationToken,
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

impl BufferUse {
    /// How much of the buffer is used, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { 100.0 * self.used as f64 / self.limit as f64 }
    }
}

impl Handle {
    pub(super) fn new(shards: Vec<Shard>, stop: CancellationToken, abort: CancellationToken) -> Self {
        let consumers = shards.iter().flat_map(Shard::consumers).cloned().collect();
        Self { group: Arc::new(Group { consumers, shards, stop, abort }) }
    }

    /// The consumers, in the order of their ids in the list. With shards, one shard after the other.
    #[must_use]
    pub fn consumers(&self) -> &[Consumer] {
        &self.group.consumers
    }

    /// The shards that run here, each with its own figures. Without shards, one shard without a number.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.group.shards
    }

    /// The counts of all messages so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shards().iter().map(Shard::ledger).sum()
    }

    /// How far the consumer group of the stream is behind, and with [`Overflow::Spill`](crate::Overflow::Spill) how
    /// many messages are in the spill. Updated once a second. `None` without a stream, and before the first update.
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        self.shards().iter().map(Shard::backlog).sum()
    }

    /// Messages whose commit was confirmed within the last second.
    #[must_use]
    pub fn processed_last_second(&self) -> u64 {
        self.shards().iter().map(Shard::processed_last_second).sum()
    }

    /// How full the buffer is. With shards, the sum of their buffers.
    #[must_use]
    pub fn buffer(&self) -> BufferUse {
        self.shards().iter().map(Shard::buffer).fold(BufferUse::default(), |sum, shard| BufferUse {
            used: sum.used + shard.used,
            limit: sum.limit + shard.limit,
        })
    }

    /// Messages that wait for their next attempt.
    #[must_use]
    pub fn retries_waiting(&self) -> usize {
        self.shards().iter().map(Shard::retries_waiting).sum()
    }

    /// The state of the group. With shards, the worst state of a shard.
    #[must_use]
    pub fn state(&self) -> State {
        self.watch().borrow().clone()
    }

    /// A receiver of the state, which can wait for its changes.
    ///
    /// ```no_run
    /// # async fn example(handle: redis_consumer_group::Handle) {
    /// use redis_consumer_group::State;
    ///
    /// let mut state = handle.watch();
    /// let ended = state.wait_for(|state| matches!(state, State::Ended)).await;
    /// # drop(ended);
    /// # }
    /// ```
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.group.shards[0].status().of_group()
    }

    /// The total time that the group was [`Disconnected`](State::Disconnected). With shards, the time that any of them
    /// was.
    #[must_use]
    pub fn disconnected(&self) -> Duration {
        self.group.shards[0].status().group_disconnected()
    }

    /// Cancelled when the group is to stop.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.group.stop
    }

    /// Cancelled when the group is to end at once.
    pub(super) fn aborting(&self) -> &CancellationToken {
        &self.group.abort
    }

    /// Begins to stop: unsubscribes, then finishes and commits the received messages. Returns at once. Use
    /// [`watch`](Self::watch) or [`ConsumerGroup::join`](super::ConsumerGroup::join) to wait for the end.
    pub fn stop(&self) {
        for shard in self.shards() {
            shard.status().drains();
        }
        self.group.stop.cancel();
    }

    /// Ends at once. Received messages that were not committed are abandoned.
    pub fn abort(&self) {
        self.group.abort.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_is_told_in_percent() {
        assert_eq!(BufferUse { used: 64, limit: 256 }.percent(), 25.0);
        assert_eq!(BufferUse::default().percent(), 0.0);
    }

    #[test]
    fn a_handle_can_be_given_to_other_threads() {
        fn can<T: Clone + Send + Sync + 'static>() {}
        can::<Handle>();
    }
}
