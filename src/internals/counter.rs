//! The counters of the engine.

use crate::ledger::{Counts, Ledger};
use crate::rate::Rate;

/// The counts behind the ledger, and the rate of the last second.
pub struct Counter {
    counts: Counts,
    rate: Rate,
}

impl Counter {
    /// Counters that start at 0.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "nobody asks for a default")]
    pub fn new() -> Self {
        Self { counts: Counts::default(), rate: Rate::new() }
    }

    /// Counts messages that were read.
    pub fn receive(&self, messages: u64) {
        self.counts.receive(messages);
    }

    /// Counts messages whose commit is confirmed.
    pub fn process(&self, messages: u64) {
        self.counts.process(messages, 0);
    }

    /// The counts of all messages so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.counts.read()
    }

    /// Counts messages in the millisecond `now`.
    pub fn add(&self, messages: u64, now: u64) {
        self.rate.add(messages, now);
    }

    /// The number of messages in the second before the millisecond `now`.
    #[must_use]
    pub fn last_second(&self, now: u64) -> u64 {
        self.rate.last_second(now)
    }
}
