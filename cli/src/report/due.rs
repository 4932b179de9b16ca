//! When the next report is due.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// The times of reports, at even intervals from the start. A late report does not delay the next ones, and missed
/// reports are skipped.
pub(crate) struct Due(Interval);

impl Due {
    /// The first one is due after `every`.
    pub(crate) fn new(every: Duration) -> Self {
        let mut interval = interval_at(Instant::now() + every, every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self(interval)
    }

    /// Waits until a report is due. Cancel safe.
    pub(crate) async fn next(&mut self) {
        self.0.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const EVERY: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn reports_come_at_even_distances() {
        let start = Instant::now();
        let mut due = Due::new(EVERY);
        for n in 1..=1000 {
            due.next().await;
            assert_eq!(start.elapsed(), n * EVERY);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_report_is_made_once_and_the_next_one_is_on_time() {
        let start = Instant::now();
        let mut due = Due::new(EVERY);
        advance(Duration::from_secs(10)).await;
        due.next().await;
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        due.next().await;
        assert_eq!(start.elapsed(), Duration::from_secs(12));
    }
}
