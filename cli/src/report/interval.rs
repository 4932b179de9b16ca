//! The counts between two reports.

use std::time::Duration;

use redis_consumer_group::Ledger;
use tokio::time::Instant;

/// The counts since the previous report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) lasted: Duration,
    pub(crate) processed: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
}

/// The previous report.
pub(crate) struct Before {
    at: Instant,
    ledger: Ledger,
}

impl Before {
    /// The start: all counts are 0.
    pub(crate) fn start() -> Self {
        Self { at: Instant::now(), ledger: Ledger::default() }
    }

    /// The counts since then. The next interval begins now.
    pub(crate) fn until(&mut self, ledger: &Ledger) -> Interval {
        let before = std::mem::replace(self, Self { at: Instant::now(), ledger: ledger.clone() });
        Interval {
            lasted: self.at - before.at,
            processed: ledger.processed.saturating_sub(before.ledger.processed),
            rejected: ledger.rejected.saturating_sub(before.ledger.rejected),
            dropped: ledger.dropped.saturating_sub(before.ledger.dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_intervals_add_up_to_the_ledger() {
        let mut before = Before::start();
        let mut ledger = Ledger::default();
        let mut sums = (Duration::ZERO, 0, 0, 0);
        for step in 1..=5 {
            tokio::time::advance(Duration::from_secs(step)).await;
            ledger.processed += 100 * step;
            ledger.rejected += step;
            ledger.dropped += 2 * step;
            let interval = before.until(&ledger);
            assert_eq!((interval.lasted, interval.processed), (Duration::from_secs(step), 100 * step));
            sums.0 += interval.lasted;
            sums.1 += interval.processed;
            sums.2 += interval.rejected;
            sums.3 += interval.dropped;
        }
        assert_eq!(sums, (Duration::from_secs(15), ledger.processed, ledger.rejected, ledger.dropped));
    }
}
