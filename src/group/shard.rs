//! One shard of a running group.

use std::fmt;
use std::sync::{Arc, PoisonError};

use super::engine::Shared;
use super::{BufferUse, Figures};
use crate::consumer::Consumer;
use crate::ledger::Ledger;
use crate::status::Status;

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

    /// Its figures now.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let shared = &self.shared;
        Figures {
            shard: self.number,
            state: shared.status.state(),
            disconnected: shared.status.disconnected(),
            ledger: shared.ledger(),
            processed_last_second: shared.rate.last_second(shared.now()),
            backlog: *shared.backlog.lock().unwrap_or_else(PoisonError::into_inner),
            buffer: BufferUse { used: shared.buffer.used(), limit: shared.buffer.limit() },
            retries_waiting: shared.retries_waiting(),
        }
    }

    pub(super) fn ledger(&self) -> Ledger {
        self.shared.ledger()
    }

    pub(super) fn status(&self) -> &Status {
        &self.shared.status
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("figures", &self.figures()).finish_non_exhaustive()
    }
}
