//! How many entries to fetch: only as many as the consumers can start soon, so that other processes get their share.

use std::time::Duration;

use tokio::time::Instant;

use crate::queue::Demand;

/// Estimates the demand from the rate at which messages are finished.
#[derive(Debug)]
pub(crate) struct Flow {
    /// Finished messages per second, recently.
    rate: f64,
    /// When the rate was updated, and how many messages were finished by then.
    last: Option<(Instant, u64)>,
    /// The number of consumers: the most that were idle at once.
    consumers: usize,
    /// Recent mean size of an entry, in bytes.
    size: f64,
}

impl Flow {
    /// Entries that the consumers start within this time may be fetched ahead: a few round trips.
    const SOON: Duration = Duration::from_millis(10);
    /// A shorter period says nothing about the rate.
    const LEAST: Duration = Duration::from_millis(1);

    pub(crate) fn new() -> Self {
        Self { rate: 0.0, last: None, consumers: 0, size: 0.0 }
    }

    /// Updates the rate. A message that was only started does not count: it may take long.
    pub(crate) fn note(&mut self, demand: Demand) {
        let now = Instant::now();
        self.consumers = self.consumers.max(demand.idle);
        let finished = demand.begun.saturating_sub((self.consumers - demand.idle) as u64);
        let Some((at, before)) = self.last else {
            self.last = Some((now, finished));
            return;
        };
        let elapsed = now - at;
        if elapsed >= Self::LEAST {
            let rate = finished.saturating_sub(before) as f64 / elapsed.as_secs_f64();
            // An old rate has no weight.
            let weight = if elapsed > 10 * Self::SOON { 1.0 } else { 0.5 };
            self.rate += weight * (rate - self.rate);
            self.last = Some((now, finished));
        }
    }

    /// Updates the mean size of entries.
    pub(crate) fn sizes(&mut self, bytes: usize, entries: usize) {
        if entries > 0 {
            let size = bytes as f64 / entries as f64;
            self.size = if self.size == 0.0 { size } else { self.size + 0.25 * (size - self.size) };
        }
    }

    /// The number of waiting messages at which more are fetched; `None`: only when a consumer is idle.
    pub(crate) fn low(&self) -> Option<usize> {
        let soon = self.soon();
        (soon > 0).then_some(soon / 2)
    }

    /// How many entries to fetch.
    pub(crate) fn wanted(&self, demand: Demand) -> usize {
        self.soon().max(demand.idle).saturating_sub(demand.waiting).max(1)
    }

    /// How many entries fit into about this many bytes. Their size is unknown until the first one has arrived.
    pub(crate) fn fitting(&self, bytes: usize) -> usize {
        const UNKNOWN: usize = 16;
        if self.size == 0.0 { UNKNOWN } else { ((bytes as f64 / self.size) as usize).max(1) }
    }

    fn soon(&self) -> usize {
        (self.rate * Self::SOON.as_secs_f64()) as usize
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn demand(waiting: usize, idle: usize, begun: u64) -> Demand {
        Demand { waiting, idle, begun }
    }

    #[tokio::test(start_paused = true)]
    async fn each_slow_consumer_gets_one_entry_when_it_is_idle() {
        let mut flow = Flow::new();
        for begun in (0..20).step_by(2) {
            flow.note(demand(0, 2, begun));
            assert_eq!((flow.low(), flow.wanted(demand(0, 2, begun))), (None, 2));
            assert_eq!(flow.wanted(demand(1, 2, begun)), 1);
            advance(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_was_only_begun_does_not_make_its_consumer_a_quick_one() {
        let mut flow = Flow::new();
        flow.note(demand(0, 1, 0));
        advance(Duration::from_millis(2)).await;
        flow.note(demand(0, 0, 1));
        assert_eq!(flow.low(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn for_quick_consumers_as_many_entries_are_fetched_as_they_begin_within_a_moment() {
        let mut flow = Flow::new();
        for step in 0..20 {
            flow.note(demand(0, 0, step * 400));
            advance(Duration::from_millis(4)).await;
        }
        let wanted = flow.wanted(demand(0, 4, 0));
        assert!((900..=1000).contains(&wanted), "{wanted}");
        assert_eq!(flow.wanted(demand(wanted - 10, 0, 0)), 10);
        assert!(flow.low().is_some_and(|low| low == wanted / 2));
        advance(Duration::from_secs(10)).await;
        flow.note(demand(0, 4, 8000));
        assert!(flow.wanted(demand(0, 4, 0)) < 10);
    }

    #[test]
    fn large_entries_are_fetched_few_at_a_time() {
        let mut flow = Flow::new();
        assert_eq!(flow.fitting(1 << 20), 16);
        flow.sizes(2 << 20, 2);
        assert_eq!(flow.fitting(1 << 20), 1);
        (0..40).for_each(|_| flow.sizes(100 * 256, 256));
        assert!(flow.fitting(1 << 20) > 5000);
    }
}
