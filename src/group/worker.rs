//! The worker: one consumer's loop, from the queue through the processor to an appender.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::appender::Outbox;
use super::pace::Pace;
use super::retries::Retries;
use crate::consumer::Consumer;
use crate::ledger::Counts;
use crate::message::Message;
use crate::processor::{Failure, Outcome, Processor};
use crate::queue::Seat;
use crate::record::Record;
use crate::throttle::Throttle;

/// What a consumer works with. Its task ends when the queue is drained.
pub(crate) struct Worker<P> {
    pub(crate) consumer: Consumer,
    pub(crate) seat: Seat,
    pub(crate) processor: Arc<P>,
    pub(crate) output: Outbox,
    pub(crate) rejected: Outbox,
    /// Shared by all workers.
    pub(crate) rejections: Arc<Throttle>,
    pub(crate) retries: Arc<Retries>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) max_payload: usize,
    pub(crate) max_attempts: u32,
    pub(crate) timeout: Option<Duration>,
}

impl<P: Processor> Worker<P> {
    pub(crate) async fn run(mut self) {
        let mut pace = Pace::default();
        while let Some(mut message) = self.seat.next(pace.claim()).await {
            pace.takes();
            if pace.copies() {
                message = message.detached().unwrap_or(message);
            }
            let waited = self.settle(message).await;
            if waited {
                pace.has_waited();
            }
            if !self.seat.has_claimed() {
                pace.claim_is_done();
                self.hand_on().await;
                // A processor that never waits would keep the runtime's thread for itself.
                tokio::task::coop::consume_budget().await;
            }
        }
    }

    /// Processes one message and hands on what becomes of it. Tells whether the processor had to wait.
    async fn settle(&mut self, mut message: Message) -> bool {
        if let Some(length) = message.full_length() {
            let reason =
                format!("the payload has {length} bytes, more than the {} allowed", self.max_payload);
            self.reject(&message, &reason).await;
            return false;
        }
        let mut waited = false;
        loop {
            let (outcome, has_waited) = self.attempt(message.clone()).await;
            waited |= has_waited;
            let reason = match outcome {
                Err(Failure::TryAgain(reason)) if message.attempt() < self.max_attempts => reason,
                Err(Failure::TryAgain(reason)) => {
                    let reason = format!("gave up after {} attempts: {reason}", message.attempt());
                    self.reject(&message, &reason).await;
                    return waited;
                }
                Err(Failure::Reject(reason)) => {
                    self.reject(&message, &reason).await;
                    return waited;
                }
                Ok(outcome) => {
                    self.conclude(&message, outcome).await;
                    return waited;
                }
            };
            tracing::debug!(
                consumer = self.consumer.id(),
                attempt = message.attempt(),
                "set aside: {reason:?}"
            );
            if self.retries.set_aside(&message) {
                return waited;
            }
            // The buffer is full: what cannot be set aside stays with its consumer. That one does not go on
            // meanwhile, and would only fill the buffer further.
            message = message.again();
            self.make_way().await;
            self.retries.wait(message.attempt()).await;
        }
    }

    /// Settles what a message has become.
    async fn conclude(&mut self, message: &Message, outcome: Outcome) {
        match outcome {
            Outcome::Record(record) => self.append(message, &[record]).await,
            Outcome::Records(records) => self.append(message, &records).await,
            Outcome::Skip => self.counts.skip(),
        }
    }

    /// Calls the processor. A panic and a timeout become failures. Tells also whether the processor had to wait.
    async fn attempt(&mut self, message: Message) -> (Result<Outcome, Failure>, bool) {
        let processor = self.processor.clone();
        let consumer = self.consumer.clone();
        // Called inside of a future, so that a panic before the first await is caught as well.
        let mut process = pin!(Some(async { processor.process(&consumer, message).await }));
        // Unwind safe: after a panic the future is not polled again, and what the processor shares between
        // messages is its own affair, as it is for a thread that panics.
        let mut attempt = |context: &mut Context<'_>| {
            let poll =
                || process.as_mut().as_pin_mut().map_or(Poll::Pending, |process| process.poll(context));
            catch_unwind(AssertUnwindSafe(poll)).unwrap_or_else(|panic| {
                Poll::Ready(Err(Failure::Reject(format!("the processor panicked: {}", text_of(&*panic)))))
            })
        };
        let (mut outcome, waited) = match poll_fn(|context| Poll::Ready(attempt(context))).await {
            Poll::Ready(outcome) => (outcome, false),
            Poll::Pending => {
                self.make_way().await;
                let outcome = match self.timeout {
                    None => poll_fn(attempt).await,
                    Some(limit) => tokio::time::timeout(limit, poll_fn(attempt))
                        .await
                        .unwrap_or_else(|_| Err(Failure::TryAgain(format!("no result within {limit:?}")))),
                };
                (outcome, true)
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| process.set(None))) {
            outcome =
                Err(Failure::Reject(format!("the processor panicked at its end: {}", text_of(&*panic))));
        }
        (outcome, waited)
    }

    /// Before a wait: others take over what was claimed, and what is ready goes on its way.
    async fn make_way(&mut self) {
        self.seat.give_back();
        self.hand_on().await;
    }

    async fn hand_on(&mut self) {
        self.output.hand_on().await;
        self.rejected.hand_on().await;
    }

    async fn append(&mut self, message: &Message, records: &[Record]) {
        if records.is_empty() {
            self.counts.skip();
        } else if records.iter().any(Record::is_empty) {
            self.reject(message, "the processor made a record without fields, which no stream can hold")
                .await;
        } else {
            self.output.put(records).await;
        }
    }

    async fn reject(&mut self, message: &Message, reason: &str) {
        let mut record = Record::with_capacity(message.payload().len() + reason.len() + 160);
        record.push("payload", message.payload());
        if let Some(length) = message.full_length() {
            record.push("payload_bytes", length.to_string());
        }
        record.push("error", reason);
        record.push("consumer_id", self.consumer.id());
        record.push("source", message.channel());
        if let Some(rejected) = self.rejections.add(1) {
            // Quoted: the reason may repeat what somebody has published.
            tracing::warn!("rejected {rejected} messages, the last one because {reason:?}; see --rejected");
        }
        self.rejected.put(&[record]).await;
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(without a message)")
}
