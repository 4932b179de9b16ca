//! What reader and steward of a stream share: the tenure, and what others have left.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use uuid::Uuid;

use crate::entry_id::EntryId;
use crate::redis::registry::Names;
use crate::tenure::Tenure;

/// The tenure that is current, and consumers whose entries can be taken over.
pub(crate) struct Estate {
    state: Mutex<State>,
    /// The reader waits here for the next tenure.
    begun: Notify,
}

struct State {
    tenure: Arc<Tenure>,
    left: VecDeque<Left>,
}

/// A consumer that others may take over from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// Its name in the group.
    pub(crate) holder: String,
    /// Its process, if it is one of ours: its tenure is over. All that is pending for it is left.
    pub(crate) process: Option<Uuid>,
    /// Of one that is not ours, what was idle for so long.
    pub(crate) idle: Duration,
    /// Nothing before this entry.
    pub(crate) from: EntryId,
}

impl Left {
    /// By a process of ours whose tenure is over.
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

impl Estate {
    pub(crate) fn new(tenure: Arc<Tenure>) -> Arc<Self> {
        let state = State { tenure, left: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state), begun: Notify::new() })
    }

    pub(crate) fn tenure(&self) -> Arc<Tenure> {
        self.lock().tenure.clone()
    }

    /// Begins another tenure.
    pub(crate) fn begin(&self, tenure: Arc<Tenure>) {
        self.lock().tenure = tenure;
        self.begun.notify_one();
    }

    /// Waits for another tenure than this one.
    pub(crate) async fn tenure_after(&self, former: &Arc<Tenure>) -> Arc<Tenure> {
        loop {
            let current = self.tenure();
            if !Arc::ptr_eq(&current, former) {
                return current;
            }
            self.begun.notified().await;
        }
    }

    /// Adds what a consumer has left, unless it is known.
    pub(crate) fn add(&self, left: Left) {
        let mut state = self.lock();
        if !state.left.iter().any(|known| known.holder == left.holder) {
            state.left.push_back(left);
        }
    }

    /// Of whom to take over next.
    pub(crate) fn next(&self) -> Option<Left> {
        self.lock().left.front().cloned()
    }

    /// The processes whose tenures are over, as far as they are known and not settled.
    pub(crate) fn dead(&self) -> Vec<Uuid> {
        self.lock().left.iter().filter_map(|left| left.process).collect()
    }

    /// Nothing is left by it, or it lives.
    pub(crate) fn settled(&self, left: &Left) {
        self.lock().left.retain(|known| known.holder != left.holder);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
