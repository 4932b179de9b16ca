//! The handle: what a running group tells, and how it is stopped, from anywhere in the program.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Shard;
use crate::backlog::Backlog;
use crate::consumer::Consumer;
use crate::ledger::Ledger;
use crate::status::State;

/// A handle to a running group, for health checks, metrics and shutdown code. Clones belong to the same group.
///
/// It does not keep the group running: that is up to the [`ConsumerGroup`](super::ConsumerGroup). After the end it
/// shows the last figures.
#[derive(Clone)]
pub struct Handle {
    group: Arc<Group>,
}

/// What all handles to a group share.
struct Group {
    consumers: Vec<Consumer>,
    /// One without a number, or one for each shard. There is at least one.
    shards: Vec<Shard>,
    /// Of all of them: see [`Shared`](super::engine::Shared).
    stop: CancellationToken,
    abort: CancellationToken,
}

/// How full the buffer of received messages is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferUse {
    /// Bytes that received messages hold. May exceed the limit by what has no choice: see
    /// [`Config::buffer`](crate::Config::buffer).
    pub used: usize,
    /// Bytes that they may hold.
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

    /// The consumers, in the order of their ids in the list; with shards, one shard after the other.
    #[must_use]
    pub fn consumers(&self) -> &[Consumer] {
        &self.group.consumers
    }

    /// The shards that run here, each with figures of its own; without shards it is one, which has no number.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.group.shards
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shards().iter().map(Shard::ledger).sum()
    }

    /// How far behind the group of the stream is, and with [`Overflow::Spill`](crate::Overflow::Spill) what is in the
    /// spill: looked at once a second. `None` without a stream, and before the first look.
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        self.shards().iter().map(Shard::backlog).sum()
    }

    /// Messages whose commit was confirmed in the last second.
    #[must_use]
    pub fn processed_last_second(&self) -> u64 {
        self.shards().iter().map(Shard::processed_last_second).sum()
    }

    /// How full the buffer is; with shards, the buffers of all of them together.
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

    /// What the group is doing; with shards, the worst state of a shard.
    #[must_use]
    pub fn state(&self) -> State {
        self.watch().borrow().clone()
    }

    /// The state, and a way to wait for its changes.
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

    /// How long the group was [`Disconnected`](State::Disconnected), all in all; with shards, how long any of them was.
    #[must_use]
    pub fn disconnected(&self) -> Duration {
        self.group.shards[0].status().group_disconnected()
    }

    /// Cancelled where the group is to stop.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.group.stop
    }

    /// Cancelled where the group is to end at once.
    pub(super) fn aborting(&self) -> &CancellationToken {
        &self.group.abort
    }

    /// Begins to stop: unsubscribes, then finishes and commits what was received. [`watch`](Self::watch) tells when that
    /// is done, and so does [`ConsumerGroup::join`](super::ConsumerGroup::join).
    pub fn stop(&self) {
        for shard in self.shards() {
            shard.status().drains();
        }
        self.group.stop.cancel();
    }

    /// Ends at once. What was received and not committed is abandoned.
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
