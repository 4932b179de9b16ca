//! The figures of one shard of a group.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::BufferUse;
use super::engine::Shared;
use crate::backlog::Backlog;
use crate::consumer::Consumer;
use crate::ledger::Ledger;
use crate::status::{State, Status};

/// One shard of a running group, or a whole group without shards. A clone shows the same figures.
#[derive(Clone)]
pub struct Shard {
    number: Option<u32>,
    consumers: Vec<Consumer>,
    shared: Arc<Shared>,
}

impl Shard {
    pub(super) fn new(number: Option<u32>, consumers: Vec<Consumer>, shared: Arc<Shared>) -> Self {
        Self { number, consumers, shared }
    }

    /// Its number, from 0. `None` when the group has no shards.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.number
    }

    /// Its consumers, in the order of their ids in the list.
    #[must_use]
    pub fn consumers(&self) -> &[Consumer] {
        &self.consumers
    }

    /// The counts of its messages so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }

    /// How far its stream's consumer group is behind, or how many messages are in its spill: see
    /// [`ConsumerGroup::backlog`](super::ConsumerGroup::backlog).
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        *self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How full its buffer is.
    #[must_use]
    pub fn buffer(&self) -> BufferUse {
        BufferUse { used: self.shared.buffer.used(), limit: self.shared.buffer.limit() }
    }

    /// Messages that wait for their next attempt.
    #[must_use]
    pub fn retries_waiting(&self) -> usize {
        self.shared.retries_waiting()
    }

    /// The state of this shard.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.status.state()
    }

    /// The total time that it was [`Disconnected`](State::Disconnected).
    #[must_use]
    pub fn disconnected(&self) -> Duration {
        self.shared.status.disconnected()
    }

    pub(super) fn status(&self) -> &Status {
        &self.shared.status
    }

    /// Messages whose commit was confirmed within the last second.
    #[must_use]
    pub fn processed_last_second(&self) -> u64 {
        self.shared.rate.last_second(self.shared.now())
    }
}
