//! The last line of `publish`.

use std::fmt;
use std::time::Duration;

use serde_json::json;

/// How many messages the server confirmed, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    /// Confirmed messages.
    pub(crate) messages: u64,
    /// From the first message to the last reply.
    pub(crate) elapsed: Duration,
}

impl Summary {
    /// The same as the text, as one object.
    pub(crate) fn to_json(self) -> serde_json::Value {
        json!({
            "published": self.messages,
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
        })
    }

    fn per_second(self) -> u64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { (self.messages as f64 / seconds).round() as u64 } else { 0 }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages = if self.messages == 1 { "message" } else { "messages" };
        let seconds = self.elapsed.as_secs_f64();
        write!(
            f,
            "Published {} {messages} in {seconds:.2} s ({} per second).",
            self.messages,
            self.per_second()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_sentence() {
        let summary = Summary { messages: 1_000_000, elapsed: Duration::from_millis(1720) };
        assert_eq!(summary.to_string(), "Published 1000000 messages in 1.72 s (581395 per second).");
        let summary = Summary { messages: 1, elapsed: Duration::from_millis(500) };
        assert_eq!(summary.to_string(), "Published 1 message in 0.50 s (2 per second).");
    }

    #[test]
    fn the_object_says_the_same() {
        let summary = Summary { messages: 10, elapsed: Duration::from_secs(2) };
        assert_eq!(summary.to_json().to_string(), r#"{"per_second":5,"published":10,"seconds":2.0}"#);
    }

    #[test]
    fn nothing_in_no_time_is_no_division_by_zero() {
        let summary = Summary { messages: 0, elapsed: Duration::ZERO };
        assert_eq!(summary.to_string(), "Published 0 messages in 0.00 s (0 per second).");
    }
}
