//! A lane for tests: it stores records in memory, and waits or fails on demand.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::{Form, Lane, Records, Settled};
use crate::error::Error;
use crate::record::Record;

/// A lane, and the test's handle to it: clones share their state.
#[derive(Clone)]
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
    /// Each commit takes a permit. There are plenty unless the test holds them back.
    gate: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    entries: Vec<Record>,
    broken: bool,
    closed: bool,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS >> 1)) }
    }

    /// The appended records, in order.
    #[cfg(feature = "testing")]
    pub(crate) fn entries(&self) -> Vec<Record> {
        self.state().entries.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Memory {
    /// A lane that confirms one commit for each call of [`Memory::confirm`].
    pub(crate) fn stuck() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), ..Self::new() }
    }

    /// Makes the next commit fail permanently.
    pub(crate) fn break_down(&self) {
        self.state().broken = true;
    }

    /// Lets a stuck lane confirm the commit in flight, or the next one.
    pub(crate) fn confirm(&self) {
        self.gate.add_permits(1);
    }

    /// The values of this field in all entries, in order.
    pub(crate) fn values(&self, field: &str) -> Vec<String> {
        let state = self.state();
        let values = state.entries.iter().filter_map(|entry| entry.get(field));
        values.map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

impl Lane for Memory {
    fn form(&self) -> Form {
        Form::default()
    }

    async fn commit(&mut self, records: &Records, _: Option<&Records>) -> Result<Settled, Error> {
        if self.state().broken {
            return Err(Error::Config { option: "output", problem: "the lane is broken".into() });
        }
        // The semaphore is never closed.
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        let mut state = self.state();
        state.entries.extend(records.iter().map(|entry| Record::of_encoded(entry.encoded, entry.fields, 0)));
        Ok(Settled::Committed)
    }

    async fn close(&mut self) {
        self.state().closed = true;
    }
}
