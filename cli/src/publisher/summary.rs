//! The summary: the last line on stdout, and remarks on stderr.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::Failure;
use super::failure::explain;
use super::target::Target;
use crate::exit;
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::{finish, say};

/// The summary, and why publishing ended early if it did. A requested stop is not a failure.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) summary: Summary,
    pub(crate) failure: Option<Failure>,
}

/// Counts of messages: those that were read, or were due. Each is in exactly one of the first three.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Summary {
    /// Messages that a server confirmed.
    pub(crate) published: u64,
    /// Messages that were sent and got no reply: they may or may not be published.
    pub(crate) unconfirmed: u64,
    /// Messages that no server accepted before the end.
    pub(crate) not_published: u64,
    /// The part of `published` that may be published twice: sent again after a connection broke.
    pub(crate) repeated: u64,
    /// The part of `published` that had no subscriber, if the servers know that.
    pub(crate) unheard: u64,
    /// From the first message to the last reply.
    pub(crate) elapsed: Duration,
}

impl Summary {
    /// The content of the text as a JSON object.
    pub(crate) fn to_json(self) -> serde_json::Value {
        json!({
            "messages": self.messages(),
            "published": self.published,
            "unconfirmed": self.unconfirmed,
            "not_published": self.not_published,
            "repeated": self.repeated,
            "unheard": self.unheard,
            "seconds": self.elapsed.as_secs_f64(),
            "per_second": self.per_second(),
        })
    }

    fn messages(self) -> u64 {
        self.published + self.unconfirmed + self.not_published
    }

    fn per_second(self) -> u64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { (self.published as f64 / seconds).round() as u64 } else { 0 }
    }

    /// Explains counts that need attention, and what to do about them.
    fn remarks(self, target: &Target, failed: bool) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.unheard > 0 {
            remarks.push(format!(
                "{} of them reached no subscriber: no group was subscribed{}.",
                self.unheard,
                match target.sharding {
                    Some(_) =>
                        " to their shard (--channel, --shards and --shard-tags must be the same as the group's)",
                    None => "",
                }
            ));
        }
        if self.repeated > 0 {
            remarks.push(format!(
                "{} of them may have been published twice: they were sent again after a connection broke.",
                self.repeated
            ));
        }
        if self.unconfirmed > 0 {
            remarks.push(format!(
                "{} more were sent, and the server did not answer: they may or may not have been published.",
                self.unconfirmed
            ));
        }
        if self.not_published > 0 {
            let why = match failed {
                true => "the error below stopped it",
                false => "no server accepted them before the end",
            };
            remarks.push(format!("{} more were not published: {why}.", self.not_published));
        }
        remarks
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.messages();
        write!(f, "Published {}", self.published)?;
        if self.published < all {
            write!(f, " of {all}")?;
        }
        let messages = if all == 1 { "message" } else { "messages" };
        let seconds = self.elapsed.as_secs_f64();
        write!(f, " {messages} in {seconds:.2} s ({} per second)", self.per_second())?;
        if self.unconfirmed > 0 {
            write!(f, ", {} unconfirmed", self.unconfirmed)?;
        }
        if self.not_published > 0 {
            write!(f, ", {} not published", self.not_published)?;
        }
        f.write_str(".")
    }
}

/// Prints the summary, as an object with `json`, and the remarks to stderr.
///
/// # Errors
/// The failure that ended publishing early.
pub(crate) async fn report(
    published: Published,
    target: &Target,
    address: &str,
    json: bool,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let Published { summary, failure } = published;
    let line = if json { summary.to_json().to_string() } else { summary.to_string() };
    finish(Stdout::new(), line, stop).await;
    summary.remarks(target, failure.is_some()).iter().for_each(say);
    match failure {
        Some(failure) => Err(explain(address, target, failure)),
        None if summary.unconfirmed + summary.not_published > 0 => Ok(exit::FAILED.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_one_sentence() {
        let elapsed = Duration::from_millis(1720);
        let mut summary = Summary { published: 1_000_000, elapsed, ..Summary::default() };
        assert_eq!(summary.to_string(), "Published 1000000 messages in 1.72 s (581395 per second).");
        (summary.unconfirmed, summary.not_published) = (12, 3);
        let text = "Published 1000000 of 1000015 messages in 1.72 s (581395 per second), 12 unconfirmed, 3 not published.";
        assert_eq!(summary.to_string(), text);
        let elapsed = Duration::from_millis(500);
        let summary = Summary { published: 1, elapsed, ..Summary::default() };
        assert_eq!(summary.to_string(), "Published 1 message in 0.50 s (2 per second).");
    }

    #[test]
    fn the_object_says_the_same() {
        let elapsed = Duration::from_secs(2);
        let summary = Summary { published: 10, unconfirmed: 1, repeated: 2, elapsed, ..Summary::default() };
        let text = r#"{"messages":11,"not_published":0,"per_second":5,"published":10,"repeated":2,"seconds":2.0,"unconfirmed":1,"unheard":0}"#;
        assert_eq!(summary.to_json().to_string(), text);
    }

    #[test]
    fn nothing_in_no_time_is_no_division_by_zero() {
        assert_eq!(Summary::default().to_string(), "Published 0 messages in 0.00 s (0 per second).");
    }
}
