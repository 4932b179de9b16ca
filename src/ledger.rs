//! The ledger: what became of every message.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What became of every message, at one moment. `received = processed + rejected + dropped + abandoned +
/// in flight`, always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Complete frames that were read from the socket.
    pub received: u64,
    /// Messages whose records are confirmed to be in the output, and those that the processor skipped.
    pub processed: u64,
    /// The part of `processed` for which the processor wanted no record.
    pub skipped: u64,
    /// Messages that are confirmed to be in the stream of rejected ones.
    pub rejected: u64,
    /// Messages that found the buffer full.
    pub dropped: u64,
    /// Messages that a forced end left behind. Some of their records may have been appended: nobody heard.
    pub abandoned: u64,
    /// Spans of time in which messages may have been published without reaching us.
    pub gaps: Gaps,
}

/// The gaps of a group's life.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gaps {
    /// How many there were.
    pub count: u64,
    /// How long they were together.
    pub total: Duration,
    /// The latest ones, oldest first, 100 at most.
    pub latest: VecDeque<Gap>,
}

/// A span of time in which messages may have been published without reaching us.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Why, in words.
    pub cause: String,
    /// From the last byte of the old connection to the confirmed subscription of the new one.
    pub duration: Duration,
}

impl Ledger {
    /// Messages that were received, and of which it is not yet known what becomes of them.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.processed + self.rejected + self.dropped + self.abandoned)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, processed, rejected, dropped, .. } = self;
        write!(f, "received {received} = processed {processed} + rejected {rejected} + dropped {dropped}")?;
        if self.abandoned > 0 {
            write!(f, " + abandoned {}", self.abandoned)?;
        }
        if self.in_flight() > 0 {
            write!(f, " + in flight {}", self.in_flight())?;
        }
        if self.skipped > 0 {
            write!(f, "; {} of the processed were skipped", self.skipped)?;
        }
        match self.gaps.count {
            0 => write!(f, "; no gaps"),
            1 => write!(f, "; 1 gap of {:.1?}", self.gaps.total),
            count => write!(f, "; {count} gaps of {:.1?} together", self.gaps.total),
        }
    }
}

/// The counts behind the ledger. Everyone who settles a message's fate adds to them; nobody subtracts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    received: AtomicU64,
    processed: AtomicU64,
    skipped: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    gaps: Mutex<Gaps>,
}

impl Counts {
    pub(crate) fn receive(&self, messages: u64) -> u64 {
        self.received.fetch_add(messages, Ordering::AcqRel) + messages
    }

    pub(crate) fn process(&self, messages: u64) {
        self.processed.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn skip(&self) {
        self.skipped.fetch_add(1, Ordering::AcqRel);
        self.process(1);
    }

    pub(crate) fn reject(&self, messages: u64) {
        self.rejected.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn discard(&self, messages: u64) {
        self.dropped.fetch_add(messages, Ordering::AcqRel);
    }

    pub(crate) fn gap(&self, gap: Gap) {
        const KEPT: usize = 100;
        let mut gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        gaps.count += 1;
        gaps.total += gap.duration;
        if gaps.latest.len() == KEPT {
            gaps.latest.pop_front();
        }
        gaps.latest.push_back(gap);
    }

    /// The ledger at this moment.
    pub(crate) fn read(&self) -> Ledger {
        // The ends are read before the beginning: whoever ends in between was received before, so that the
        // messages in flight are never fewer than none.
        let processed = self.processed.load(Ordering::Acquire);
        let rejected = self.rejected.load(Ordering::Acquire);
        let dropped = self.dropped.load(Ordering::Acquire);
        let skipped = self.skipped.load(Ordering::Acquire).min(processed);
        let received = self.received.load(Ordering::Acquire);
        let gaps = self.gaps.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ledger { received, processed, skipped, rejected, dropped, abandoned: 0, gaps }
    }

    /// The ledger after the end: what is still in flight will not come to an end any more.
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
        counts.process(3);
        counts.skip();
        counts.reject(2);
        counts.discard(1);
        let ledger = counts.read();
        assert_eq!(ledger.in_flight(), 3);
        assert_eq!((ledger.processed, ledger.skipped), (4, 1));
    }

    #[test]
    fn what_is_in_flight_at_the_end_is_abandoned() {
        let counts = Counts::default();
        counts.receive(5);
        counts.process(3);
        let ledger = counts.close();
        assert_eq!((ledger.abandoned, ledger.in_flight()), (2, 0));
        assert_eq!(
            ledger.to_string(),
            "received 5 = processed 3 + rejected 0 + dropped 0 + abandoned 2; no gaps"
        );
    }

    #[test]
    fn gaps_are_counted_for_ever_and_kept_for_a_while() {
        let counts = Counts::default();
        for n in 0..150 {
            counts.gap(Gap { cause: n.to_string(), duration: Duration::from_millis(10) });
        }
        let ledger = counts.read();
        assert_eq!((ledger.gaps.count, ledger.gaps.latest.len()), (150, 100));
        assert_eq!(ledger.gaps.latest[0].cause, "50");
        assert!(ledger.to_string().ends_with("; 150 gaps of 1.5s together"), "{ledger}");
    }
}
