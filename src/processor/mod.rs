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

/// Turns a message into a record, several, or none.
///
/// - A closure is given to [`processor`](crate::Builder::processor), or to
///   [`processor_with`](crate::Builder::processor_with) if it needs state.
/// - A function is a processor itself, with any error type that converts into [`Failure`]. It is given to
///   [`processor_type`](crate::Builder::processor_type).
/// - A type of your own implements this trait and is given to [`processor_type`](crate::Builder::processor_type). Its
///   fields are the state that all consumers share.
///
/// A consumer processes one message at a time; the group's consumers share the processor, so many of them call it at
/// the same time.
///
/// A processor that panics rejects its message, and its consumer goes on.
///
/// # Errors of your own
///
/// Decide once whether an error of your application is worth a retry. Then `?` works for everything that converts into it:
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
    /// What it fails with: [`Failure`], or an error that converts into it.
    type Error: Into<Failure>;

    /// Processes one message.
    ///
    /// # Errors
    /// [`Failure::TryAgain`] and [`Failure::TryAfter`] set the message aside for a later attempt, [`Failure::Reject`] moves it to the
    /// stream of rejected messages.
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

impl Outcome {
    /// The records, in order; none of a skip.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        match self {
            Self::Record(record) => std::slice::from_ref(record),
            Self::Records(records) => records,
            Self::Skip => &[],
        }
    }
}

/// Why a message was not processed, and what becomes of it.
///
/// `?` converts these errors:
///
/// | error | becomes |
/// |---|---|
/// | [`PayloadError`](crate::PayloadError), [`RecordError`], `serde_json::Error`, `Utf8Error`, `FromUtf8Error`, `ParseIntError`, `ParseFloatError` | [`Reject`](Self::Reject): another attempt would end in the same way |
/// | [`std::io::Error`], Tokio's `Elapsed`, `AcquireError` and `JoinError` | [`TryAgain`](Self::TryAgain) |
/// | `Box<dyn Error + Send + Sync>`, and `anyhow::Error` with the feature `anyhow` | what the error that it holds becomes; [`TryAgain`](Self::TryAgain) for one that is not in this table. A `Failure` in it stays as it is |
/// | an error of your own | what its `impl From<YourError> for Failure` says: see [`Processor`] |
///
/// Anything else does by `.map_err(Failure::try_again)` or `.map_err(Failure::reject)`. The reason holds the error and all
/// of its causes: `no answer from the shop: connection refused`.
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
    /// Try again later, because of this: an error, or a text.
    pub fn try_again(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::TryAgain(failure::with_causes(&*reason.into()))
    }

    /// Try again after this delay, because of this: where a service has said when to come back.
    pub fn try_after(reason: impl Into<Box<dyn Error + Send + Sync>>, delay: Duration) -> Self {
        Self::TryAfter { reason: failure::with_causes(&*reason.into()), delay }
    }

    /// Reject the message, because of this: an error, or a text.
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
