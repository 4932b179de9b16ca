//! What reader and membership of a stream share: the epoch, and what others have left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::entry_id::EntryId;
use crate::epoch::Epoch;
use crate::redis::registry::Names;

/// The epoch that is current, and consumers whose entries can be taken over.
pub(crate) struct Takeovers {
    state: Mutex<State>,
    /// The reader waits here for the next epoch.
    begun: Notify,
}

struct State {
    epoch: Arc<Epoch>,
    due: VecDeque<Takeover>,
}

/// A consumer that others may take over from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Takeover {
    /// Its name in the group.
    pub(crate) holder: String,
    /// Its process, if it is one of ours: its epoch is over. All that is pending for it is left.
    pub(crate) process: Option<Uuid>,
    /// Of one that is not ours, what was idle for so long.
    pub(crate) idle: Duration,
    /// Nothing before this entry.
    pub(crate) from: EntryId,
}

impl Takeover {
    /// By a process of ours whose epoch is over.
    pub(crate) fn by(process: Uuid) -> Self {
        Self {
            holder: Names::consumer(process),
            process: Some(process),
            idle: Duration::ZERO,
            from: EntryId::default(),
        }
    }

    /// By a consumer that is not ours: what it has not touched for so long, from this entry on.
    pub(crate) fn by_foreign(holder: String, idle: Duration, from: EntryId) -> Self {
        Self { holder, process: None, idle, from }
    }
}

impl Takeovers {
    pub(crate) fn new(epoch: Arc<Epoch>) -> Arc<Self> {
        let state = State { epoch, due: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), begun: Notify::new() })
    }

    pub(crate) fn epoch(&self) -> Arc<Epoch> {
        self.lock().epoch.clone()
    }

    /// Begins another epoch.
    pub(crate) fn begin(&self, epoch: Arc<Epoch>) {
        self.lock().epoch = epoch;
        self.begun.notify_one();
    }

    /// Waits for another epoch than this one.
    pub(crate) async fn epoch_after(&self, former: &Arc<Epoch>) -> Arc<Epoch> {
        loop {
            let current = self.epoch();
            if !Arc::ptr_eq(&current, former) {
                return current;
            }
            self.begun.notified().await;
        }
    }

    /// Adds what a consumer has left, unless it is known.
    pub(crate) fn add(&self, takeover: Takeover) {
        let mut state = self.lock();
        if !state.due.iter().any(|known| known.holder == takeover.holder) {
            state.due.push_back(takeover);
        }
    }

    /// Of whom to take over next.
    pub(crate) fn next(&self) -> Option<Takeover> {
        self.lock().due.front().cloned()
    }

    /// The processes whose epochs are over, as far as they are known and not settled.
    pub(crate) fn dead(&self) -> Vec<Uuid> {
        self.lock().due.iter().filter_map(|takeover| takeover.process).collect()
    }

    /// Nothing is left by it, or it lives.
    pub(crate) fn settled(&self, takeover: &Takeover) {
        self.lock().due.retain(|known| known.holder != takeover.holder);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
