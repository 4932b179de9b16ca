//! The worker: one consumer's loop, from the queue through the processor to an appender.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::appender::Appender;
use super::retries::Retries;
use crate::consumer::Consumer;
use crate::ledger::Counts;
use crate::message::Message;
use crate::processor::{Failure, Outcome, Processor};
use crate::queue::Seat;
use crate::record::Record;
use crate::throttle::Throttle;

/// Messages that are copied after the last one that the processor waited for.
const COPIES: u32 = 1000;

/// What a consumer works with. Its task ends when the queue is drained.
pub(crate) struct Worker<P> {
    pub(crate) consumer: Consumer,
    pub(crate) seat: Seat,
    pub(crate) processor: Arc<P>,
    pub(crate) output: Arc<Appender>,
    pub(crate) rejected: Arc<Appender>,
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
        // A processor that waits would hold the whole batch that its message came with. One that has waited
        // lately may do so again, and gets its messages as copies.
        let mut copies = 0;
        while let Some(mut message) = self.seat.next().await {
            if copies > 0 {
                copies -= 1;
                message = message.detached().unwrap_or(message);
                self.seat.let_go();
            }
            if self.settle(message).await {
                copies = COPIES;
            }
            // A processor that never waits would keep the runtime's thread for itself.
            tokio::task::coop::consume_budget().await;
        }
    }

    /// Processes one message and hands on what becomes of it. Tells whether the processor had to wait.
    async fn settle(&self, mut message: Message) -> bool {
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
                    self.hand_on(&message, outcome).await;
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
            self.retries.wait(message.attempt()).await;
        }
    }

    /// Hands on what a message has become.
    async fn hand_on(&self, message: &Message, outcome: Outcome) {
        match outcome {
            Outcome::Record(record) => self.append(message, &[record]).await,
            Outcome::Records(records) => self.append(message, &records).await,
            Outcome::Skip => self.counts.skip(),
        }
    }

    /// Calls the processor. A panic and a timeout become failures.
    async fn attempt(&self, message: Message) -> (Result<Outcome, Failure>, bool) {
        let mut waited = false;
        // Called inside of a future, so that a panic before the first await is caught as well.
        let mut process = pin!(Some(async { self.processor.process(&self.consumer, message).await }));
        // Unwind safe: after a panic the future is not polled again, and what the processor shares between
        // messages is its own affair, as it is for a thread that panics.
        let attempt = poll_fn(|context| {
            let poll =
                || process.as_mut().as_pin_mut().map_or(Poll::Pending, |process| process.poll(context));
            match catch_unwind(AssertUnwindSafe(poll)) {
                Ok(Poll::Ready(outcome)) => Poll::Ready(outcome),
                Ok(Poll::Pending) => {
                    waited = true;
                    Poll::Pending
                }
                Err(panic) => {
                    Poll::Ready(Err(Failure::Reject(format!("the processor panicked: {}", text_of(&*panic)))))
                }
            }
        });
        let mut outcome = match self.timeout {
            None => attempt.await,
            Some(limit) => tokio::time::timeout(limit, attempt)
                .await
                .unwrap_or_else(|_| Err(Failure::TryAgain(format!("no result within {limit:?}")))),
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| process.set(None))) {
            outcome =
                Err(Failure::Reject(format!("the processor panicked at its end: {}", text_of(&*panic))));
        }
        (outcome, waited)
    }

    async fn append(&self, message: &Message, records: &[Record]) {
        if records.is_empty() {
            self.counts.skip();
        } else if records.iter().any(Record::is_empty) {
            self.reject(message, "the processor made a record without fields, which no stream can hold")
                .await;
        } else {
            self.output.append_all(records).await;
        }
    }

    async fn reject(&self, message: &Message, reason: &str) {
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
        self.rejected.append(&[record], true).await;
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(without a message)")
}
