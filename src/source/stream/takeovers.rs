//! The state that a stream's reader and membership share: the epoch, and the takeovers that are due.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::entry_id::EntryId;
use crate::epoch::Epoch;
use crate::redis::registry::Names;

/// The current epoch, and the consumers whose entries can be taken over.
pub(crate) struct Takeovers {
    state: Mutex<State>,
    /// Wakes the reader when the next epoch begins.
    begun: Notify,
}

struct State {
    epoch: Arc<Epoch>,
    due: VecDeque<Takeover>,
}

/// A consumer whose pending entries may be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Takeover {
    /// Its name in the group.
    pub(crate) holder: String,
    /// Its process, if this program created the consumer: its epoch is over, and all its
    /// pending entries may be claimed.
    pub(crate) process: Option<Uuid>,
    /// For a foreign consumer: the idle time from which an entry may be claimed.
    pub(crate) idle: Duration,
    /// The first entry to claim.
    pub(crate) from: EntryId,
}

impl Takeover {
    /// From a process of this program whose epoch is over.
    pub(crate) fn by(process: Uuid) -> Self {
        Self {
            holder: Names::consumer(process),
            process: Some(process),
            idle: Duration::ZERO,
            from: EntryId::default(),
        }
    }

    /// From a foreign consumer: entries from this one on that have been idle for so long.
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

    /// Sets the next epoch.
    pub(crate) fn begin(&self, epoch: Arc<Epoch>) {
        self.lock().epoch = epoch;
        self.begun.notify_one();
    }

    /// Waits for an epoch other than this one.
    pub(crate) async fn epoch_after(&self, former: &Arc<Epoch>) -> Arc<Epoch> {
        loop {
            let current = self.epoch();
            if !Arc::ptr_eq(&current, former) {
                return current;
            }
            self.begun.notified().await;
        }
    }

    /// Adds a consumer, unless it is known already.
    pub(crate) fn add(&self, takeover: Takeover) {
        let mut state = self.lock();
        if !state.due.iter().any(|known| known.holder == takeover.holder) {
            state.due.push_back(takeover);
        }
    }

    /// The next consumer to take over from.
    pub(crate) fn next(&self) -> Option<Takeover> {
        self.lock().due.front().cloned()
    }

    /// The known processes whose epochs are over and from which entries may be left.
    pub(crate) fn dead(&self) -> Vec<Uuid> {
        self.lock().due.iter().filter_map(|takeover| takeover.process).collect()
    }

    /// Removes a consumer: it has nothing left, or it lives.
    pub(crate) fn settled(&self, takeover: &Takeover) {
        self.lock().due.retain(|known| known.holder != takeover.holder);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
