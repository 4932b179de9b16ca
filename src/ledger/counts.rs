//! The counts behind the ledger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Gap, Ledger, gaps};

/// The counts behind the ledger. Every task that finishes a message adds to them; nothing subtracts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    received: AtomicU64,
    processed: AtomicU64,
    skipped: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    retried: AtomicU64,
    fenced: AtomicU64,
    spilled: AtomicU64,
    read_back: AtomicU64,
    spill_lost: AtomicU64,
    taken_over: AtomicU64,
    deleted: AtomicU64,
    trimmed: AtomicU64,
    trimmed_unknown: AtomicU64,
    group_lost: AtomicU64,
    repeated: AtomicU64,
    lost: AtomicU64,
    gaps: Mutex<gaps::Log>,
}

impl Counts {
    pub(crate) fn receive(&self, messages: u64) {
        self.received.fetch_add(messages, Ordering::AcqRel);
    }

    /// Counts processed messages, of which `skipped` have no record.
    pub(crate) fn process(&self, messages: u64, skipped: u64) {
        if skipped > 0 {
            self.skipped.fetch_add(skipped, Ordering::AcqRel);
        }
        self.processed.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn skip(&self) {
        self.process(1, 1);
    }

    pub(crate) fn fence(&self, messages: u64) {
        self.fenced.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn spill(&self, messages: u64) {
        self.spilled.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn read_back(&self, messages: u64) {
        self.read_back.fetch_add(messages, Ordering::AcqRel);
    }

    /// Counts the loss when the spill was deleted. `left` messages in the new spill may be from this group. Returns how
    /// many were lost.
    pub(crate) fn lose_spill(&self, left: u64) -> u64 {
        let ours = u64::try_from(self.read().in_the_spill()).unwrap_or(0);
        let lost = ours.saturating_sub(left);
        self.spill_lost.fetch_add(lost, Ordering::AcqRel);
        lost
    }

    /// Counts spilled messages as lost.
    pub(crate) fn lose_spilled(&self, messages: u64) {
        // Messages that were read back are counted with their later outcome.
        let ours = u64::try_from(self.read().in_the_spill()).unwrap_or(0);
        self.spill_lost.fetch_add(messages.min(ours), Ordering::AcqRel);
    }

    pub(crate) fn take_over(&self, messages: u64) {
        self.taken_over.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn delete(&self, entries: u64) {
        self.deleted.fetch_add(entries, Ordering::AcqRel);
    }

    /// Counts entries that were trimmed unread; `None` when their number is unknown.
    pub(crate) fn trim(&self, entries: Option<u64>) {
        match entries {
            Some(entries) => self.trimmed.fetch_add(entries, Ordering::AcqRel),
            None => self.trimmed_unknown.fetch_add(1, Ordering::AcqRel),
        };
    }

    pub(crate) fn lose_group(&self) {
        self.group_lost.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts messages whose records were appended again after a failover.
    pub(crate) fn repeat(&self, messages: u64) {
        self.repeated.fetch_add(messages, Ordering::AcqRel);
    }

    /// Counts messages whose records a failover lost.
    pub(crate) fn lose(&self, messages: u64) {
        self.lost.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn reject(&self, messages: u64) {
        self.rejected.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn add_dropped(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn retry(&self) {
        self.retried.fetch_add(1, Ordering::AcqRel);
    }

    /// Records the start of a gap. [`gap`](Self::gap) records its end.
    pub(crate) fn gap_begins(&self, since: Instant) {
        self.gaps().begin(since);
    }

    /// The duration of the open gap, if there is one.
    pub(crate) fn open_gap(&self) -> Option<Duration> {
        self.gaps().read().open
    }

    /// Records the end of a gap.
    pub(crate) fn gap(&self, gap: Gap) {
        self.gaps().end(gap);
    }

    fn gaps(&self) -> MutexGuard<'_, gaps::Log> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ledger at this moment.
    pub(crate) fn read(&self) -> Ledger {
        // Outcomes are loaded before `received`: a message that gets its outcome in between is included in `received`,
        // so the number in flight is never negative.
        let processed = self.processed.load(Ordering::Acquire);
        let rejected = self.rejected.load(Ordering::Acquire);
        let dropped = self.dropped.load(Ordering::Acquire);
        let fenced = self.fenced.load(Ordering::Acquire);
        let spilled = self.spilled.load(Ordering::Acquire);
        let skipped = self.skipped.load(Ordering::Acquire).min(processed);
        let read_back = self.read_back.load(Ordering::Acquire);
        let received = self.received.load(Ordering::Acquire);
        Ledger {
            received,
            processed,
            skipped,
            rejected,
            dropped,
            retried: self.retried.load(Ordering::Acquire),
            abandoned: 0,
            fenced,
            spilled,
            read_back,
            spill_lost: self.spill_lost.load(Ordering::Acquire),
            taken_over: self.taken_over.load(Ordering::Acquire),
            deleted: self.deleted.load(Ordering::Acquire),
            trimmed: self.trimmed.load(Ordering::Acquire),
            trimmed_unknown: self.trimmed_unknown.load(Ordering::Acquire),
            group_lost: self.group_lost.load(Ordering::Acquire),
            repeated: self.repeated.load(Ordering::Acquire),
            lost: self.lost.load(Ordering::Acquire),
            gaps: self.gaps().read(),
        }
    }

    /// The ledger after the end: messages that are still in flight are abandoned.
    pub(crate) fn close(&self) -> Ledger {
        let mut ledger = self.read();
        ledger.abandoned = ledger.in_flight();
        ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_adds_up_at_any_time() {
        let counts = Counts::default();
        counts.receive(10);
        counts.process(3, 0);
        counts.skip();
        counts.reject(2);
        counts.add_dropped(1);
        let ledger = counts.read();
        assert_eq!(ledger.in_flight(), 3);
        assert_eq!((ledger.processed, ledger.skipped), (4, 1));
    }
}
