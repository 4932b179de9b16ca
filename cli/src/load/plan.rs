//! What to publish, and when to end.

use std::time::Duration;

use super::pace::Pace;
use crate::publisher::Target;

/// The plan of a load generator: plain data. The load ends at the limit that is reached first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Where the messages go.
    pub(crate) target: Target,
    /// About how many bytes a message has as a JSON object.
    pub(crate) payload_bytes: usize,
    /// How the messages are spread over time.
    pub(crate) pace: Pace,
    /// The maximum number of messages.
    pub(crate) count: Option<u64>,
    /// The maximum time.
    pub(crate) duration: Option<Duration>,
}

impl Plan {
    /// The number of messages, if it is known in advance.
    pub(crate) fn total(&self) -> Option<u64> {
        let in_time = match (&self.pace, self.duration) {
            (Pace::Even(rate), Some(duration)) => Some(rate.messages_in(duration)),
            _ => None,
        };
        match (self.count, in_time) {
            (Some(count), Some(in_time)) => Some(count.min(in_time)),
            (count, in_time) => count.or(in_time),
        }
    }

    /// The time after which the load ends even if messages are left.
    pub(crate) fn time_limit(&self) -> Option<Duration> {
        /// A busy machine may be late. So long, the messages of an even rate that are due at the end wait for room.
        const LATE: Duration = Duration::from_secs(2);
        match self.pace {
            Pace::Bursts { .. } => self.duration,
            Pace::Even(_) => self.duration.map(|duration| duration + LATE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_lowest_limit_that_counts_messages() {
        let load = |pace, count, seconds: Option<u64>| Plan {
            target: Target::channel("c"),
            payload_bytes: 0,
            pace,
            count,
            duration: seconds.map(Duration::from_secs),
        };
        let even = || Pace::Even("100".parse().unwrap());
        let bursts = || Pace::Bursts { batch: 10, pause: Duration::ZERO..=Duration::ZERO };
        assert_eq!(load(even(), None, Some(3)).total(), Some(300));
        assert_eq!(load(even(), Some(70), Some(3)).total(), Some(70));
        assert_eq!(load(even(), Some(700), Some(3)).total(), Some(300));
        assert_eq!(load(bursts(), None, Some(3)).total(), None);
        assert_eq!(load(bursts(), Some(7), Some(3)).total(), Some(7));
    }
}
