//! When each message of an open loop is due. Pure arithmetic, without a clock.

/// Message `n` is due `n / rate` seconds after the start, independent of earlier messages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Schedule {
    /// ns of the common clock.
    start: u64,
    /// ns between two messages.
    interval: f64,
}

impl Schedule {
    /// `rate` is in messages a second.
    pub(crate) fn new(start: u64, rate: f64) -> Self {
        Self { start, interval: 1e9 / rate }
    }

    /// ns between two messages.
    pub(crate) fn interval(&self) -> f64 {
        self.interval
    }

    /// When this message is due.
    pub(crate) fn due(&self, message: u64) -> u64 {
        self.start + (message as f64 * self.interval) as u64
    }

    /// How many messages are due by this time.
    pub(crate) fn due_by(&self, now: u64) -> u64 {
        let Some(elapsed) = now.checked_sub(self.start) else { return 0 };
        // Rounding may be off by one exactly at a deadline.
        let near = (elapsed as f64 / self.interval) as u64;
        (near.saturating_sub(1)..)
            .take_while(|message| self.due(*message) <= now)
            .last()
            .map_or(0, |last| last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_due_at_its_deadline_and_not_a_nanosecond_earlier() {
        for rate in [0.5, 3.0, 999.9, 1000.0, 33_333.0, 712_345.6] {
            let schedule = Schedule::new(5_000_000_000, rate);
            assert_eq!(schedule.due_by(4_999_999_999), 0);
            for message in (0..1_000_000).step_by(997) {
                let due = schedule.due(message);
                assert_eq!(schedule.due_by(due), message + 1, "{rate}");
                assert_eq!(schedule.due_by(due - 1), message, "{rate}");
            }
        }
    }

    #[test]
    fn after_a_pause_all_overdue_messages_are_due() {
        let schedule = Schedule::new(0, 1000.0);
        assert_eq!(schedule.due_by(2_000_000_000), 2001);
        assert_eq!(schedule.due(2000), 2_000_000_000);
    }
}
