//! Tests processors without a server: messages, consumers, and a group in memory. Needs the feature `testing`.
//!
//! Process one message and check its outcome:
//!
//! ```
//! use redis_consumer_group::testing::{MessageBuilder, process};
//! use redis_consumer_group::{Consumer, Failure, Message, Record};
//!
//! async fn shout(_: Consumer, message: Message) -> Result<Record, Failure> {
//!     Ok(Record::new().field("text", message.text()?.to_uppercase()))
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let outcome = process(&shout, "hello").await.unwrap();
//! assert_eq!(outcome.records()[0].text("text"), Some("HELLO"));
//!
//! let failure = process(&shout, MessageBuilder::new([0xff]).attempt(2)).await.unwrap_err();
//! assert!(matches!(failure, Failure::Reject(reason) if reason.starts_with("the payload is not UTF-8")));
//! # });
//! ```
//!
//! To run a whole group with its retries, rejected messages and ledger, but without a server, use [`Pipeline`].

mod message;
mod pipeline;

use std::pin::pin;

use uuid::Uuid;

pub use self::message::MessageBuilder;
pub use self::pipeline::{Finished, Pipeline};
use crate::consumer::Consumer;
use crate::group::attempt::Attempt;
use crate::processor::{Failure, Outcome, Processor};

/// A consumer with a random id: the first consumer of a group without shards.
#[must_use]
pub fn consumer() -> Consumer {
    Consumer::new(None, 0, Uuid::new_v4())
}

/// A consumer with this index in its group, and this shard if there is one.
#[must_use]
pub fn consumer_at(index: usize, shard: Option<u32>) -> Consumer {
    Consumer::new(shard, index, Uuid::new_v4())
}

/// Processes one message once, as a group would: with a [`consumer`]. A panic rejects the message.
///
/// # Errors
/// The failure of the processor.
pub async fn process<P: Processor>(
    processor: &P,
    message: impl Into<MessageBuilder>,
) -> Result<Outcome, Failure> {
    let (consumer, message) = (consumer(), message.into().build());
    let process = async { processor.process(&consumer, message).await.map_err(Into::into) };
    let mut process = pin!(Some(process));
    let mut attempt = Attempt::new(process.as_mut());
    let outcome = attempt.outcome(None).await;
    attempt.end().map_or(outcome, Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::record::Record;

    #[tokio::test]
    async fn a_processor_that_panics_rejects_its_message() {
        let panics = |_: Consumer, message: Message| async move {
            assert!(message.payload() != b"b", "no {:?}", message.text());
            Ok::<Record, Failure>(Record::new().field("p", "x"))
        };
        assert!(process(&panics, "a").await.is_ok());
        let failure = process(&panics, "b").await.unwrap_err();
        assert_eq!(failure, Failure::Reject("the processor panicked: no Ok(\"b\")".into()));
    }

    #[tokio::test]
    async fn an_error_of_its_own_becomes_a_failure() {
        let failing = |_: Consumer, _: Message| async { Err::<(), _>(std::io::Error::other("closed")) };
        assert_eq!(process(&failing, "a").await, Err(Failure::TryAgain("closed".into())));
        assert_eq!(process(&crate::JsonProcessor::new(), "{}").await.unwrap().records().len(), 1);
    }

    #[cfg(feature = "anyhow")]
    #[tokio::test]
    async fn a_processor_may_fail_with_an_error_of_anyhow() {
        use anyhow::Context;

        async fn parse(_: Consumer, message: Message) -> anyhow::Result<Record> {
            let number: u8 = message.json().context("cannot read the order")?;
            std::fs::read("/nonexistent/prices").context("cannot read the prices")?;
            Ok(Record::new().field("number", number))
        }

        let Err(Failure::Reject(reason)) = process(&parse, "x").await else { panic!() };
        assert!(
            reason.starts_with("cannot read the order: the payload is not JSON: expected value"),
            "{reason}"
        );
        let Err(Failure::TryAgain(reason)) = process(&parse, "1").await else { panic!() };
        assert!(reason.starts_with("cannot read the prices: No such file"), "{reason}");
    }

    #[test]
    fn a_consumer_can_be_made_at_any_place() {
        let consumer = consumer_at(3, Some(7));
        assert_eq!((consumer.index(), consumer.shard(), consumer.id().len()), (3, Some(7), 36));
    }
}
