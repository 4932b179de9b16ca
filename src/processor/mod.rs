//! The processor: the function from a consumer and a message to an outcome.

mod failure;
mod json;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

pub use self::json::{JsonProcessor, RecordError};
use crate::consumer::Consumer;
use crate::message::Message;
use crate::record::Record;

/// Turns a message into one record, several, or none.
///
/// - Pass a closure to [`processor`](crate::Builder::processor), or to
///   [`processor_with_state`](crate::Builder::processor_with_state) if it needs state.
/// - A function is a processor itself, with any error type that converts into [`Failure`]. Pass it to
///   [`with_processor`](crate::Builder::with_processor).
/// - Your own type implements this trait. Pass it to [`with_processor`](crate::Builder::with_processor). Its fields are
///   the state that all consumers share.
///
/// A consumer processes one message at a time. All consumers of a group share the processor, so several of them call it
/// at the same time.
///
/// If a processor panics, its message is rejected and its consumer continues.
///
/// # Your own errors
///
/// Decide once whether an error of your application is worth a retry. After that, `?` works for everything that
/// converts into it:
///
/// ```
/// use redis_consumer_group::{Consumer, Failure, Message, Outcome, PayloadError, Processor, Record};
///
/// #[derive(Debug, thiserror::Error)]
/// enum AppError {
///     #[error("the message is not an order")]
///     NotAnOrder(#[from] PayloadError),
///     #[error("the shop does not answer")]
///     Shop(#[from] std::io::Error),
/// }
///
/// impl From<AppError> for Failure {
///     fn from(error: AppError) -> Self {
///         match error {
///             AppError::NotAnOrder(_) => Failure::reject(error),
///             AppError::Shop(_) => Failure::try_again(error),
///         }
///     }
/// }
///
/// struct Shop;
///
/// impl Shop {
///     async fn price_of(&self, article: &str) -> std::io::Result<u64> {
///         Ok(100 * article.len() as u64)
///     }
/// }
///
/// impl Processor for Shop {
///     type Error = AppError;
///
///     async fn process(&self, _: &Consumer, message: Message) -> Result<Outcome, AppError> {
///         let article = message.text()?;
///         let price = self.price_of(article).await?;
///         Ok(Record::new().field("article", article).field("price", price).into())
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a processor",
    note = "a processor is a function or closure from `Consumer` and `Message` to a future of `Result<O, E>`, where `O` converts \
            into `Outcome` and `E` into `Failure`, or a type that implements `Processor`"
)]
pub trait Processor: Send + Sync + 'static {
    /// The error type: [`Failure`], or an error that converts into it.
    type Error: Into<Failure>;

    /// Processes one message.
    ///
    /// # Errors
    /// [`Failure::TryAgain`] and [`Failure::TryAfter`] set the message aside for a retry. [`Failure::Reject`] moves it
    /// to the stream of rejected messages.
    fn process(
        &self,
        consumer: &Consumer,
        message: Message,
    ) -> impl Future<Output = Result<Outcome, Self::Error>> + Send;
}

impl<P: Processor> Processor for Arc<P> {
    type Error = P::Error;

    fn process(
        &self,
        consumer: &Consumer,
        message: Message,
    ) -> impl Future<Output = Result<Outcome, Self::Error>> + Send {
        P::process(self, consumer, message)
    }
}

impl<F, Fut, O, E> Processor for F
where
    F: Fn(Consumer, Message) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, E>> + Send,
    O: Into<Outcome>,
    E: Into<Failure>,
{
    type Error = E;

    async fn process(&self, consumer: &Consumer, message: Message) -> Result<Outcome, E> {
        self(consumer.clone(), message).await.map(Into::into)
    }
}

/// The result of processing a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// One entry of the output.
    Record(Record),
    /// Several entries, in this order. They are in one commit if there are at most 256 of them, with at most 128 KiB
    /// together.
    Records(Vec<Record>),
    /// No entry. The message counts as processed, and as skipped.
    Skip,
}

impl Outcome {
    /// The records, in order; empty for `Skip`.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        match self {
            Self::Record(record) => std::slice::from_ref(record),
            Self::Records(records) => records,
            Self::Skip => &[],
        }
    }
}

/// Why a message was not processed, and whether to retry it.
///
/// `?` converts these errors:
///
/// | error | becomes |
/// |---|---|
/// | [`PayloadError`](crate::PayloadError), [`RecordError`], `serde_json::Error`, `Utf8Error`, `FromUtf8Error`, `ParseIntError`, `ParseFloatError` | [`Reject`](Self::Reject): another attempt would end in the same way |
/// | [`std::io::Error`], Tokio's `Elapsed`, `AcquireError` and `JoinError` | [`TryAgain`](Self::TryAgain) |
/// | `Box<dyn Error + Send + Sync>`, and `anyhow::Error` with the feature `anyhow` | the conversion of the error inside; [`TryAgain`](Self::TryAgain) for an error that is not in this table. A `Failure` inside stays unchanged |
/// | your own error | your `impl From<YourError> for Failure`: see [`Processor`] |
///
/// For other errors, use `.map_err(Failure::try_again)` or `.map_err(Failure::reject)`. The reason contains the error
/// and all of its causes: `no answer from the shop: connection refused`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// Retry later, up to [`Config::max_attempts`](crate::Config::max_attempts) attempts in total. In the meantime,
    /// the consumer continues with other messages.
    TryAgain(String),
    /// Like [`TryAgain`](Self::TryAgain), but no sooner than after this delay (at most a day) instead of the group's
    /// [backoff](crate::Config::retry_delay). A stop does not wait for it: the remaining attempts are made soon.
    TryAfter {
        /// The reason.
        reason: String,
        /// How long the message waits for its next attempt.
        delay: Duration,
    },
    /// Move the message to the stream of rejected messages, with this reason.
    Reject(String),
}

impl Failure {
    /// Retry later, for this reason: an error, or a text.
    pub fn try_again(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::TryAgain(failure::with_causes(&*reason.into()))
    }

    /// Retry after this delay, for this reason: for example when a service has sent a retry-after time.
    pub fn try_after(reason: impl Into<Box<dyn Error + Send + Sync>>, delay: Duration) -> Self {
        Self::TryAfter { reason: failure::with_causes(&*reason.into()), delay }
    }

    /// Reject the message, for this reason: an error, or a text.
    pub fn reject(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Reject(failure::with_causes(&*reason.into()))
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::Skip
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
