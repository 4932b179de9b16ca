//! The ledger: counts the outcome of every message.

mod counts;
mod gaps;

use std::fmt;
use std::iter::Sum;

pub(crate) use self::counts::Counts;
pub use self::gaps::{Gap, Gaps};
use crate::text::Lasted;

/// The outcome of every message, counted at one moment. At any time,
/// `received + read_back = processed + rejected + dropped + abandoned + fenced + spilled + in flight`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ledger {
    /// Complete frames that were read from the socket. With the source `stream`, entries that Redis delivered to this
    /// group.
    pub received: u64,
    /// Messages whose records are confirmed to be in the output, and messages that the processor skipped.
    pub processed: u64,
    /// The part of `processed` for which the processor returned no record.
    pub skipped: u64,
    /// Messages that are confirmed to be in the stream of rejected messages.
    pub rejected: u64,
    /// Messages that were dropped because the buffer was full.
    pub dropped: u64,
    /// Failed attempts that were followed by another attempt at the same message.
    pub retried: u64,
    /// Messages that were not finished when the group ended. Some of their records may have been appended without a
    /// confirmation. With the source `stream` they stay pending in Redis until another process takes them over.
    pub abandoned: u64,
    /// Entries that other processes took over from this one, because it sent no heartbeat for the time of its lease.
    /// The ledgers of those processes count their outcome. If a commit ended without a confirmation, it is unknown
    /// whether its records are from this process or from the other one.
    pub fenced: u64,
    /// Messages that found the buffer full and are confirmed to be in the spill.
    pub spilled: u64,
    /// Messages that were read back from the spill: those of this group, and those that earlier or other processes left
    /// there.
    pub read_back: u64,
    /// Messages of this group that were in the spill when it was deleted, or that a failover lost there.
    pub spill_lost: u64,
    /// The part of `received` that was taken over from processes that died or were idle for too long.
    pub taken_over: u64,
    /// Entries that another client deleted while they were pending: there is nothing left to process.
    pub deleted: u64,
    /// Entries that were trimmed from the input before a process of the group read them.
    pub trimmed: u64,
    /// How often entries may have been trimmed unread when the server's figures do not show how many.
    pub trimmed_unknown: u64,
    /// How often the stream's consumer group was missing and was recreated. Its entries are read again from the
    /// configured beginning, so some may be in the output twice, or lost.
    pub group_lost: u64,
    /// The part of `processed` and `rejected` whose records were appended again after a failover, because the promoted
    /// node lacked them.
    pub repeated: u64,
    /// The part of `processed` and `rejected` whose records a failover lost: Redis replicates after it confirms, and
    /// the records were no longer kept (see [`Config::keep`](crate::Config::keep)). Records of entries from a stream or
    /// a spill are not kept: entries that the promoted node has are pending again, and are counted again when they are
    /// processed again.
    pub lost: u64,
    /// Spans of time in which published messages may have been missed, including one that is still open.
    pub gaps: Gaps,
}

impl Ledger {
    /// Messages that were received and have no outcome yet.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let settled = self.processed + self.rejected + self.dropped + self.abandoned;
        (self.received + self.read_back).saturating_sub(settled + self.fenced + self.spilled)
    }

    /// Messages that this group has put into the spill and not read back, without those that were deleted there.
    /// Negative if the group has read more than it wrote, because others had left messages there.
    #[must_use]
    pub fn in_the_spill(&self) -> i64 {
        self.spilled.cast_signed() - self.read_back.cast_signed() - self.spill_lost.cast_signed()
    }
}

impl Sum for Ledger {
    /// The sum of the ledgers of several groups.
    fn sum<I: Iterator<Item = Self>>(ledgers: I) -> Self {
        ledgers.fold(Self::default(), |sum, ledger| Self {
            received: sum.received + ledger.received,
            processed: sum.processed + ledger.processed,
            skipped: sum.skipped + ledger.skipped,
            rejected: sum.rejected + ledger.rejected,
            dropped: sum.dropped + ledger.dropped,
            retried: sum.retried + ledger.retried,
            abandoned: sum.abandoned + ledger.abandoned,
            fenced: sum.fenced + ledger.fenced,
            spilled: sum.spilled + ledger.spilled,
            read_back: sum.read_back + ledger.read_back,
            spill_lost: sum.spill_lost + ledger.spill_lost,
            taken_over: sum.taken_over + ledger.taken_over,
            deleted: sum.deleted + ledger.deleted,
            trimmed: sum.trimmed + ledger.trimmed,
            trimmed_unknown: sum.trimmed_unknown + ledger.trimmed_unknown,
            group_lost: sum.group_lost + ledger.group_lost,
            repeated: sum.repeated + ledger.repeated,
            lost: sum.lost + ledger.lost,
            gaps: sum.gaps.and(ledger.gaps),
        })
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, processed, rejected, dropped, .. } = self;
        let spill = self.in_the_spill();
        write!(f, "received {received}")?;
        if spill < 0 {
            write!(f, " + from the spill {}", spill.unsigned_abs())?;
        }
        write!(f, " = processed {processed} + rejected {rejected} + dropped {dropped}")?;
        let rest = [
            (self.abandoned, "abandoned"),
            (self.fenced, "fenced"),
            (spill.max(0).unsigned_abs(), "in the spill"),
            (self.spill_lost, "lost from the spill"),
            (self.in_flight(), "in flight"),
        ];
        for (count, name) in rest.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, " + {name} {count}")?;
        }
        let notes = [
            (self.skipped, "of the processed were skipped"),
            (self.retried, "attempts failed and were retried"),
            (self.taken_over, "of the received were taken over"),
            (self.deleted, "were deleted while they were pending"),
            (self.trimmed, "were trimmed before they were read"),
            (self.trimmed_unknown, "× an unknown number was trimmed before it was read"),
            (self.group_lost, "× the group was gone and was recreated"),
        ];
        for (count, note) in notes.into_iter().filter(|(count, _)| *count > 0) {
            let space = if note.starts_with('×') { "" } else { " " };
            write!(f, "; {count}{space}{note}")?;
        }
        let all = if *rejected > 0 { "processed and rejected" } else { "processed" };
        let after_failovers = [(self.repeated, "repeated after"), (self.lost, "lost by")];
        for (count, when) in after_failovers.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, "; {count} of the {all} were {when} a failover")?;
        }
        match self.gaps.count {
            0 => write!(f, "; no gaps"),
            1 => write!(f, "; 1 gap of {}", Lasted(self.gaps.total)),
            count => write!(f, "; {count} gaps of {} together", Lasted(self.gaps.total)),
        }?;
        if self.gaps.open.is_some() { f.write_str(", not over yet") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn messages_in_flight_at_the_end_are_abandoned() {
        let counts = Counts::default();
        counts.receive(5);
        counts.process(3, 0);
        let ledger = counts.close();
        assert_eq!((ledger.abandoned, ledger.in_flight()), (2, 0));
        assert_eq!(
            ledger.to_string(),
            "received 5 = processed 3 + rejected 0 + dropped 0 + abandoned 2; no gaps"
        );
    }

    #[test]
    fn the_text_shows_messages_in_the_spill_and_those_read_from_an_earlier_one() {
        let counts = Counts::default();
        counts.receive(10);
        counts.process(3, 0);
        counts.spill(6);
        counts.read_back(2);
        let ledger = counts.read();
        assert_eq!((ledger.in_flight(), ledger.in_the_spill()), (3, 4));
        assert_eq!(
            ledger.to_string(),
            "received 10 = processed 3 + rejected 0 + dropped 0 + in the spill 4 + in flight 3; no gaps"
        );
        counts.read_back(14);
        counts.process(17, 0);
        assert_eq!(
            counts.read().to_string(),
            "received 10 + from the spill 10 = processed 20 + rejected 0 + dropped 0; no gaps"
        );
    }

    #[test]
    fn entries_that_were_taken_over_are_not_in_flight_any_more() {
        let counts = Counts::default();
        counts.receive(5);
        counts.take_over(2);
        counts.process(3, 0);
        counts.fence(2);
        counts.trim(Some(7));
        counts.trim(None);
        assert_eq!(
            counts.read().to_string(),
            "received 5 = processed 3 + rejected 0 + dropped 0 + fenced 2; 2 of the received were taken over; \
             7 were trimmed before they were read; 1× an unknown number was trimmed before it was read; no gaps"
        );
    }

    #[test]
    fn the_text_shows_the_sum_of_the_gaps() {
        let counts = Counts::default();
        for n in 0..150 {
            counts.gap(Gap {
                channel: "orders".to_owned(),
                shard: None,
                cause: n.to_string(),
                duration: Duration::from_millis(10),
                ended: SystemTime::now(),
            });
        }
        let ledger = counts.read();
        assert!(ledger.to_string().ends_with("; 150 gaps of 1.5s together"), "{ledger}");
    }
}
