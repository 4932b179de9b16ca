//! When messages are published. This is only the calculation; the caller has the clock.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use crate::pacing::Schedule;

/// How the messages of a load are spread over time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Pace {
    /// `batch` messages at full speed, then a pause of random length, repeatedly.
    Bursts {
        /// Messages per burst.
        batch: u64,
        /// The shortest and the longest pause.
        pause: RangeInclusive<Duration>,
    },
    /// Message `i` is due `i / rate` seconds after the first, regardless of earlier messages: after an outage of the
    /// server, all messages that became due are published at once.
    Even(Rate),
}

/// Messages a second, above 0 and at most ten million.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(f64);

impl Rate {
    /// The shortest tick. At rates above 1000 a second, several messages are due at one tick.
    const TICK: Duration = Duration::from_millis(1);

    /// The time between two checks of what is due: one message, or a millisecond at high rates.
    pub(crate) fn tick(self) -> Duration {
        Duration::from_secs_f64(1.0 / self.0).max(Self::TICK)
    }

    /// How many messages are due this long after the first one.
    pub(crate) fn due(self, elapsed: Duration) -> u64 {
        Schedule::new(0, self.0).due_by(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How many messages have a deadline within this time.
    pub(crate) fn messages_in(self, duration: Duration) -> u64 {
        let exact = duration.as_secs_f64() * self.0;
        // 0.1 × 30 is a little more than 3.
        (exact - 1e-6).ceil().max(1.0) as u64
    }
}

impl From<u32> for Rate {
    /// At least one message a second.
    fn from(rate: u32) -> Self {
        Self(f64::from(rate.max(1)))
    }
}

impl FromStr for Rate {
    type Err = String;

    /// `2000`, `2000/s`, `0.5`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const HIGHEST: f64 = 10_000_000.0;
        let number = text.strip_suffix("/s").unwrap_or(text);
        let rate: f64 = number
            .parse()
            .map_err(|_| "it is not a number of messages per second; write it like 2000 or 0.5".to_owned())?;
        // More than an hour between two messages is probably a typing error.
        if (1.0 / 3600.0..=HIGHEST).contains(&rate) {
            Ok(Self(rate))
        } else {
            Err(format!("the rate must be above 0 and at most {HIGHEST} messages per second"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn each_message_is_due_at_its_deadline_and_not_a_microsecond_earlier() {
        for per_second in [0.5, 1.0, 3.0, 7.0, 999.9, 1000.0, 2000.0, 33_333.0] {
            for i in (0..100_000).step_by(7).skip(1) {
                let deadline = Duration::from_secs_f64(f64::from(i) / per_second);
                assert_eq!(Rate(per_second).due(deadline), u64::from(i as u32) + 1, "{per_second} {i}");
                let before = deadline - Duration::from_micros(1);
                assert_eq!(Rate(per_second).due(before), u64::from(i as u32), "{per_second} {i}");
            }
        }
    }

    #[test]
    fn the_first_message_is_due_at_once() {
        assert_eq!(rate("0.01").due(Duration::ZERO), 1);
        assert_eq!(rate("5000000").due(Duration::ZERO), 1);
    }

    #[test]
    fn a_duration_has_as_many_messages_as_rate_times_seconds() {
        assert_eq!(rate("2000").messages_in(Duration::from_secs(20)), 40_000);
        assert_eq!(rate("30").messages_in(Duration::from_millis(100)), 3);
        assert_eq!(rate("0.1").messages_in(Duration::from_secs(1)), 1);
        assert_eq!(rate("0.1").messages_in(Duration::from_secs(11)), 2);
    }

    #[test]
    fn low_rates_tick_once_a_message_and_high_rates_once_a_millisecond() {
        assert_eq!(rate("4").tick(), Duration::from_millis(250));
        assert_eq!(rate("400000/s").tick(), Duration::from_millis(1));
    }

    #[test]
    fn a_text_that_is_not_a_rate_is_refused() {
        for text in ["0", "-1", "inf", "NaN", "1e9", "", "fast", "0.0001"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
