//! The handle: shows the figures of a running group and stops it, from anywhere in the program.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Figures, Shard};
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

impl Handle {
    pub(super) fn new(shards: Vec<Shard>, stop: CancellationToken, abort: CancellationToken) -> Self {
        let consumers = shards.iter().flat_map(Shard::consumers).cloned().collect();
        Self { group: Arc::new(Group { consumers, shards, stop, abort }) }
    }

    /// The figures of the group now. With shards, of all shards that run here together.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let shards: Vec<_> = self.shards().iter().map(Shard::figures).collect();
        Figures::sum(&shards, self.state(), self.group.shards[0].status().group_disconnected())
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

    /// Begins the stop: unsubscribes, then finishes and commits the received messages. Returns at once. Use
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

    /// The counts alone, which are cheaper than all figures.
    pub(super) fn ledger(&self) -> Ledger {
        self.shards().iter().map(Shard::ledger).sum()
    }

    /// Cancelled when the group is to stop.
    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.group.stop
    }

    /// Cancelled when the group is to end at once.
    pub(super) fn aborting(&self) -> &CancellationToken {
        &self.group.abort
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("figures", &self.figures()).finish_non_exhaustive()
    }
}
