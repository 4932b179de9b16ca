//! The pace of a consumer: how many messages it claims from the queue at once.

use std::time::Duration;

use tokio::time::Instant;

/// Chooses the size of a claim by the time that a consumer's last messages took.
///
/// Claiming one by one never makes a message wait while another consumer is idle, but it costs more than a quick
/// processor itself. So a quick consumer claims what it can finish in a [`Pace::MOMENT`]: the longest that a claimed
/// message may wait while other consumers are idle. A processor that waits gets one message at a time, copied into its
/// own memory: otherwise it would hold the whole batch that the message came with.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The binary logarithm of the size of a claim.
    doublings: u32,
    /// When the first message of the current claim was taken.
    since: Option<Instant>,
    /// Messages taken from the current claim.
    taken: u32,
    /// How many more messages to copy.
    copies: u32,
}

impl Pace {
    /// Claims grow while one takes less time than this, and shrink when one takes more than twice as long.
    const MOMENT: Duration = Duration::from_micros(20);
    const MOST_DOUBLINGS: u32 = 5;
    /// How many messages are copied after the last one that the processor waited for.
    const COPIES: u32 = 1000;

    /// How many messages to claim next.
    pub(crate) fn claim(&self) -> usize {
        if self.copies > 0 { 1 } else { 1 << self.doublings }
    }

    /// Whether to copy the current message.
    pub(crate) fn copies(&self) -> bool {
        self.copies > 0
    }

    /// Records that the processor has waited.
    pub(crate) fn has_waited(&mut self) {
        *self = Self { copies: Self::COPIES + 1, ..Self::default() };
    }

    /// Records that a message was taken.
    pub(crate) fn takes(&mut self) {
        self.taken += 1;
        if self.copies == 0 && self.since.is_none() {
            self.since = Some(Instant::now());
        }
    }

    /// Whether the claim takes longer than it should, so that the rest of it should be given back. It reads the clock
    /// only at every fourth message.
    pub(crate) fn is_late(&self) -> bool {
        self.taken.is_multiple_of(4) && self.since.is_some_and(|since| since.elapsed() > 2 * Self::MOMENT)
    }

    /// Records that all messages of the claim are done.
    pub(crate) fn claim_is_done(&mut self) {
        self.copies = self.copies.saturating_sub(1);
        self.taken = 0;
        if let Some(since) = self.since.take() {
            self.took(since.elapsed());
        }
    }

    fn took(&mut self, time: Duration) {
        if time < Self::MOMENT {
            self.doublings = (self.doublings + 1).min(Self::MOST_DOUBLINGS);
        } else if time > 2 * Self::MOMENT {
            self.doublings = self.doublings.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_consumer_claims_more_and_a_slow_one_less() {
        let mut pace = Pace::default();
        assert_eq!(pace.claim(), 1);
        let grown: Vec<_> = (0..7)
            .map(|_| {
                pace.took(Duration::from_micros(5));
                pace.claim()
            })
            .collect();
        assert_eq!(grown, [2, 4, 8, 16, 32, 32, 32]);
        pace.took(Duration::from_micros(30));
        assert_eq!(pace.claim(), 32);
        for _ in 0..10 {
            pace.took(Duration::from_micros(100));
        }
        assert_eq!(pace.claim(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_takes_too_long_is_noticed_before_its_end() {
        let mut pace = Pace::default();
        (0..4).for_each(|_| pace.takes());
        assert!(!pace.is_late());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(pace.is_late());
        pace.claim_is_done();
        (0..4).for_each(|_| pace.takes());
        assert!(!pace.is_late());
    }

    #[test]
    fn after_a_wait_messages_are_copied_one_by_one_for_a_while() {
        let mut pace = Pace::default();
        pace.took(Duration::ZERO);
        pace.has_waited();
        pace.claim_is_done();
        for _ in 0..Pace::COPIES {
            assert!(pace.copies() && pace.claim() == 1);
            pace.claim_is_done();
        }
        assert!(!pace.copies());
    }
}
