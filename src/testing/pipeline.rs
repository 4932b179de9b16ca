//! A group in memory: the engine without a server.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{MessageBuilder, consumer_at};
use crate::config::Config;
use crate::error::Error;
use crate::group::Builder;
use crate::group::engine::{Engine, Lanes, Shared, Sources};
use crate::intake::{Intake, Limit};
use crate::ledger::Ledger;
use crate::message::Span;
use crate::processor::{JsonProcessor, Processor};
use crate::record::Record;
use crate::redis::frames::OVERSIZE_HEAD;
use crate::rejected::Rejected;
use crate::sink::memory::Memory;
use crate::source::Source;
use crate::status::Status;

/// A group that takes its messages from a list and appends its records to another list. Consumers, retries, rejected
/// messages and the ledger work as in a group at a server.
///
/// Build it from the same [`Builder`] that the application starts, so that the test covers its settings too:
///
/// ```
/// use redis_consumer_group::testing::Pipeline;
/// use redis_consumer_group::{Builder, ConsumerGroup, Processor, Record};
///
/// fn shouting() -> Builder<impl Processor> {
///     ConsumerGroup::builder("redis://localhost:6379")
///         .max_attempts(3)
///         .processor(|_, message| async move { Ok(Record::new().field("text", message.text()?.to_uppercase())) })
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let finished = Pipeline::of(shouting()).run([&b"hello"[..], &[0xff]]).await;
/// assert_eq!(finished.records[0].text("text"), Some("HELLO"));
/// assert!(finished.rejected[0].reason().starts_with("the payload is not UTF-8"));
/// assert_eq!(finished.ledger.received, 2);
/// # });
/// ```
///
/// The group stops when it has received all messages, and a stopping group retries soon: 5 attempts take about 400 ms.
/// In a test with `#[tokio::test(start_paused = true)]`, which needs Tokio's feature `test-util`, they take no time.
#[must_use = "it does nothing until `run`"]
pub struct Pipeline<P> {
    builder: Builder<P>,
}

/// The result of a [`Pipeline`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finished {
    /// The output, in the order of the appends. With several consumers, the order of the messages may differ.
    pub records: Vec<Record>,
    /// The rejected messages, in the order in which they were rejected.
    pub rejected: Vec<Rejected>,
    /// The counts.
    pub ledger: Ledger,
}

impl<P: Processor> Pipeline<P> {
    /// A pipeline with this processor and the default settings.
    pub fn new(processor: P) -> Self {
        Self::of(Builder::<JsonProcessor>::from_config(Config::default()).with_processor(processor))
    }

    /// A pipeline with the processor and the settings of this builder. Its address and its shards are ignored.
    pub fn of(builder: Builder<P>) -> Self {
        Self { builder }
    }

    /// Changes settings, as [`Builder::configure`] does.
    pub fn configure(self, change: impl FnOnce(&mut Config)) -> Self {
        Self { builder: self.builder.configure(change) }
    }

    /// Runs the group until each of these messages is processed or rejected. A payload begins with its first attempt,
    /// an entry with the attempt that it was built with.
    ///
    /// # Panics
    /// When a setting is invalid, or when it is called outside of a Tokio runtime.
    pub async fn run(self, messages: impl IntoIterator<Item = impl Into<MessageBuilder>>) -> Finished {
        let (config, processor, hooks) = match self.builder.into_parts() {
            Ok(parts) => parts,
            Err(error) => panic!("{error}"),
        };
        let limit = config.max_messages.map(|most| Arc::new(Limit::new(most)));
        let shared = Shared::new(
            config.buffer,
            CancellationToken::new(),
            CancellationToken::new(),
            limit,
            hooks,
            Status::alone(),
        );
        let (output, rejected) = (Memory::new(), Memory::new());
        let source = Prepared {
            messages: messages.into_iter().map(Into::into).collect(),
            max_payload: config.max_payload,
        };
        let engine = Engine {
            consumers: (0..config.consumers).map(|index| consumer_at(index, None)).collect(),
            processor: Arc::new(processor),
            sources: Sources { input: source, spill: None },
            lanes: Lanes {
                first: output.clone(),
                second: (config.consumers > 1).then(|| output.clone()),
                rejected: rejected.clone(),
                spill: None,
            },
            workers: Handle::current(),
            shared: shared.clone(),
            // The stop begins when everything is delivered: how long to wait for the processor is up to the test.
            config: Config { drain_timeout: Duration::from_secs(86_400), ..config },
        };
        if let Err(error) = engine.run(pending()).await {
            panic!("the pipeline ended early: {error}");
        }
        Finished {
            records: output.entries(),
            rejected: rejected.entries().iter().filter_map(|entry| Rejected::of(entry.iter())).collect(),
            ledger: shared.ledger(),
        }
    }
}

/// A source that has all messages from the start.
struct Prepared {
    messages: Vec<MessageBuilder>,
    max_payload: usize,
}

impl Source for Prepared {
    async fn run(self, intake: Intake, stop: CancellationToken) -> Result<(), Error> {
        for MessageBuilder { content, channel, attempt } in self.messages {
            if stop.is_cancelled() {
                break;
            }
            let (bytes, entries) = content.into_parts();
            let span = Span { start: 0, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) };
            match entries {
                Some(entries) => {
                    intake.accept_entries(&channel, bytes.into(), vec![span], entries, attempt).await;
                }
                None if bytes.len() > self.max_payload => {
                    intake.receive(1);
                    let head = bytes[..self.max_payload.min(OVERSIZE_HEAD)].to_vec();
                    intake.accept_oversize(&channel, head.into(), bytes.len() as u64).await;
                }
                None => {
                    intake.receive(1);
                    intake.accept(&channel, bytes.into(), vec![span]).await;
                }
            }
            tokio::task::consume_budget().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Consumer;
    use crate::message::Message;
    use crate::processor::Failure;

    /// Fails as often as the payload says, then makes a record.
    async fn stubborn(_: Consumer, message: Message) -> Result<Record, Failure> {
        let failures: u32 = message.text()?.parse()?;
        if message.attempt() <= failures {
            return Err(Failure::try_again("not yet"));
        }
        Ok(Record::new().field("failures", failures).field("attempt", message.attempt()))
    }

    #[tokio::test(start_paused = true)]
    async fn messages_are_tried_again_and_rejected_as_by_a_group_at_a_server() {
        let finished = Pipeline::new(stubborn).run(["0", "2", "5", "none"]).await;
        let mut attempts: Vec<_> =
            finished.records.iter().map(|record| record.text("attempt").unwrap()).collect();
        attempts.sort_unstable();
        assert_eq!(attempts, ["1", "3"]);
        let mut rejected: Vec<_> =
            finished.rejected.iter().map(|rejected| (rejected.reason(), rejected.attempts())).collect();
        rejected.sort_unstable();
        assert_eq!(
            rejected,
            [("gave up after 5 attempts: not yet", 5), ("invalid digit found in string", 1)]
        );
        let Ledger { received, processed, rejected, abandoned, .. } = finished.ledger;
        assert_eq!((received, processed, rejected, abandoned), (4, 2, 2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_goes_on_with_its_attempt_and_names_its_id() {
        let entries = [2, 3].map(|attempt| MessageBuilder::entry([("payload", "2")]).attempt(attempt));
        let pipeline = Pipeline::new(stubborn).configure(|config| {
            config.max_attempts = 3;
            config.stream.with_source_id = true;
        });
        let finished = pipeline.run(entries).await;
        let expected = Record::new().field("failures", 2).field("attempt", 3).field("source_id", "1-0");
        assert_eq!(finished.records, [expected.clone(), expected]);
        assert!(finished.rejected.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_payload_that_is_too_long_is_rejected_as_it_would_be() {
        let pipeline = Pipeline::new(stubborn).configure(|config| config.max_payload = 10);
        let finished = pipeline.run(["0", "00000000000000000000"]).await;
        assert_eq!((finished.records.len(), finished.rejected[0].payload_bytes()), (1, Some(20)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_messages_of_a_slow_processor_are_waited_for() {
        let slow = |_: Consumer, message: Message| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, Failure>(Record::new().field("n", message.text()?))
        };
        let one = Pipeline::new(slow).configure(|config| config.consumers = 1);
        let finished = one.run((0..1000).map(|n: u32| n.to_string())).await;
        let numbers: Vec<_> =
            finished.records.iter().map(|record| record.text("n").unwrap().to_owned()).collect();
        assert_eq!(numbers, (0..1000).map(|n| n.to_string()).collect::<Vec<_>>());
    }

    #[tokio::test]
    #[should_panic(expected = "consumers: 0 consumers is out of range")]
    async fn a_setting_that_cannot_work_is_reported() {
        Pipeline::new(stubborn).configure(|config| config.consumers = 0).run(["0"]).await;
    }
}
