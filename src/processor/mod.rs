//! The processor: the function from a consumer and a message to what becomes of it.

mod json;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

pub use self::json::JsonProcessor;
use crate::consumer::Consumer;
use crate::message::Message;
use crate::record::Record;

/// Turns a message into a record, several, or none.
///
/// Closures are given to [`processor`](crate::Builder::processor); a type of your own implements this trait
/// and is given to [`processor_type`](crate::Builder::processor_type). A consumer processes one message at a
/// time; the group's consumers share the processor, so it is called by many of them at the same time.
///
/// A processor that panics rejects its message, and its consumer goes on.
pub trait Processor: Send + Sync + 'static {
    /// Processes one message.
    ///
    /// # Errors
    /// [`Failure::TryAgain`] and [`Failure::TryAfter`] set the message aside for a later attempt, [`Failure::Reject`] moves it to the
    /// stream of rejected messages.
    fn process(
        &self,
        consumer: &Consumer,
        message: Message,
    ) -> impl Future<Output = Result<Outcome, Failure>> + Send;
}

impl<P: Processor> Processor for Arc<P> {
    fn process(
        &self,
        consumer: &Consumer,
        message: Message,
    ) -> impl Future<Output = Result<Outcome, Failure>> + Send {
        P::process(self, consumer, message)
    }
}

/// What a message became.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// One entry of the output.
    Record(Record),
    /// Several entries, in this order. In one commit if they are few (256) and small (128 KiB together).
    Records(Vec<Record>),
    /// None. The message counts as processed, and as skipped.
    Skip,
}

/// Why a message was not processed, and what shall become of it.
///
/// Any [`std::error::Error`] turns into [`Failure::TryAgain`] by `?`. What is none of those, such as the error of
/// `anyhow` or a boxed one, does by `.map_err(Failure::try_again)`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Try again later, up to [`Config::max_attempts`](crate::Config::max_attempts) times in all. Meanwhile
    /// the consumer goes on with other messages.
    TryAgain(String),
    /// The same, but no sooner than after this delay, at most a day, instead of the group's
    /// [backoff](crate::Config::retry_delay). A stop does not wait for it: the attempts that are left are made soon.
    TryAfter {
        /// Why.
        reason: String,
        /// How long the message waits for its next attempt.
        delay: Duration,
    },
    /// Move the message to the stream of rejected messages, with this reason.
    Reject(String),
}

impl Failure {
    /// Try again later, because of this.
    pub fn try_again(reason: impl Display) -> Self {
        Self::TryAgain(reason.to_string())
    }

    /// Try again after this delay, because of this: where a service has said when to come back.
    pub fn try_after(reason: impl Display, delay: Duration) -> Self {
        Self::TryAfter { reason: reason.to_string(), delay }
    }

    /// Reject the message, because of this.
    pub fn reject(reason: impl Display) -> Self {
        Self::Reject(reason.to_string())
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        // The causes belong to the reason: who reads it later has nothing else.
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        Self::TryAgain(reason)
    }
}

impl From<Record> for Outcome {
    fn from(record: Record) -> Self {
        Self::Record(record)
    }
}

impl From<Vec<Record>> for Outcome {
    fn from(records: Vec<Record>) -> Self {
        if records.is_empty() { Self::Skip } else { Self::Records(records) }
    }
}

impl From<Option<Record>> for Outcome {
    fn from(record: Option<Record>) -> Self {
        record.map_or(Self::Skip, Self::Record)
    }
}

/// A closure as a processor.
pub(crate) struct FromFn<F>(pub(crate) F);

impl<F, Fut, O, E> Processor for FromFn<F>
where
    F: Fn(Consumer, Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send,
    O: Into<Outcome>,
    E: Into<Failure>,
{
    async fn process(&self, consumer: &Consumer, message: Message) -> Result<Outcome, Failure> {
        match (self.0)(consumer.clone(), message).await {
            Ok(outcome) => Ok(outcome.into()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_any_kind_means_try_again_and_keeps_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("no answer from the shop")]
        struct Shop(#[source] std::fmt::Error);

        let failure = Failure::from(Shop(std::fmt::Error));
        let cause = std::fmt::Error.to_string();
        assert_eq!(failure, Failure::TryAgain(format!("no answer from the shop: {cause}")));
    }
}
