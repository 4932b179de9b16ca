//! The worker: one consumer's loop, from the queue through the processor to an appender.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::attempt::Attempt;
use super::outbox::Outbox;
use super::pace::Pace;
use super::retries::Retries;
use crate::appender::Urgency;
use crate::consumer::Consumer;
use crate::events::Events;
use crate::message::Message;
use crate::processor::{Failure, Outcome, Processor};
use crate::queue::Receiver;
use crate::record::Record;
use crate::rejected::{ATTEMPTS, CONSUMER_ID, ERROR, PAYLOAD, PAYLOAD_BYTES, SOURCE, SOURCE_ID};

/// A running consumer. Its task ends when the queue is closed and empty.
pub(crate) struct Worker<P> {
    pub(crate) consumer: Consumer,
    pub(crate) processor: Arc<P>,
    pub(crate) context: Context,
}

/// The source of a consumer's messages, and the destinations of their results.
pub(crate) struct Context {
    pub(crate) receiver: Receiver,
    pub(crate) output: Outbox,
    pub(crate) rejected: Outbox,
    pub(crate) retries: Arc<Retries>,
    pub(crate) events: Arc<Events>,
    pub(crate) max_payload: usize,
    pub(crate) max_attempts: u32,
    pub(crate) timeout: Option<Duration>,
    pub(crate) with_source_id: bool,
}

impl<P: Processor> Worker<P> {
    pub(crate) async fn run(mut self) {
        let mut pace = Pace::default();
        while let Some(mut message) = self.context.next(pace.claim()).await {
            pace.takes();
            if message.is_fenced() {
                self.context.events.counts.fence(1);
                continue;
            }
            if pace.copies() {
                message = message.detached().unwrap_or(message);
            }
            let waited = self.settle(message).await;
            if waited {
                pace.has_waited();
            }
            if !self.context.receiver.has_claimed() {
                pace.claim_is_done();
                if !tokio::task::coop::has_budget_remaining() {
                    self.context.hand_on(Urgency::Soon).await;
                }
                // A processor that never waits would otherwise keep the runtime's thread for itself.
                tokio::task::coop::consume_budget().await;
            } else if pace.is_late() {
                self.context.make_way().await;
                pace.claim_is_done();
            }
        }
    }

    /// Processes one message and passes its result on. Returns whether the processor had to wait.
    async fn settle(&mut self, mut message: Message) -> bool {
        let Self { consumer, processor, context } = self;
        let (consumer, processor) = (&*consumer, &**processor);
        if let Some(length) = message.full_length() {
            let reason =
                format!("the payload has {length} bytes, more than the {} allowed", context.max_payload);
            context.reject(consumer, &message, &reason).await;
            return false;
        }
        if message.attempt() > context.max_attempts {
            // An entry that was held by processes that died, or lost their epoch, one after the other.
            let reason = format!("gave up after {} attempts: no process finished it", context.max_attempts);
            context.reject(consumer, &message, &reason).await;
            return false;
        }
        let mut waited = false;
        loop {
            let given = message.clone();
            let process =
                pin!(Some(async move { processor.process(consumer, given).await.map_err(Into::into) }));
            let mut attempt = Attempt::new(process);
            let outcome = match poll_fn(|context| Poll::Ready(attempt.poll(context))).await {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    waited = true;
                    let limit = context.timeout;
                    // Concurrently: the processor continues while the outbox waits for room.
                    tokio::join!(context.make_way(), attempt.outcome(limit)).1
                }
            };
            let (reason, after) = match attempt.end().map_or(outcome, Err) {
                Ok(outcome) => {
                    context.conclude(consumer, &message, outcome).await;
                    return waited;
                }
                Err(Failure::Reject(reason)) => {
                    context.reject(consumer, &message, &reason).await;
                    return waited;
                }
                Err(Failure::TryAgain(reason)) => (reason, None),
                Err(Failure::TryAfter { reason, delay }) => (reason, Some(delay)),
            };
            if message.attempt() >= context.max_attempts {
                let reason = format!("gave up after {} attempts: {reason}", message.attempt());
                context.reject(consumer, &message, &reason).await;
                return waited;
            }
            context.events.retries(reason, consumer);
            if context.retries.set_aside(&message, after) {
                return waited;
            }
            // The buffer is full: a message that cannot be set aside stays with its consumer. The consumer waits with
            // it: taking other messages would only fill the buffer further.
            message = message.again();
            context.make_way().await;
            let waiting = context.receiver.waits_to_retry();
            context.retries.wait(message.attempt(), after).await;
            drop(waiting);
            message.begins_again();
        }
    }
}

impl Context {
    /// The next message. Results of the earlier messages are passed on when the whole claim is done.
    async fn next(&mut self, claim: usize) -> Option<Message> {
        let claimed = self.receiver.has_claimed();
        let message = self.receiver.take(claim);
        if message.is_none() {
            self.hand_on(Urgency::Now).await;
            return self.receiver.next(claim).await;
        }
        if !claimed {
            self.hand_on(Urgency::Soon).await;
        }
        message
    }

    /// Passes on the result of a message.
    async fn conclude(&mut self, consumer: &Consumer, message: &Message, outcome: Outcome) {
        match outcome {
            Outcome::Record(record) => self.append(consumer, message, &mut [record]).await,
            Outcome::Records(mut records) => self.append(consumer, message, &mut records).await,
            Outcome::Skip => self.skip(message).await,
        }
    }

    /// Appends nothing. If the message has a receipt, it is acknowledged like any other.
    async fn skip(&mut self, message: &Message) {
        match message.receipt() {
            None => self.events.counts.skip(),
            receipt => {
                if !self.output.try_put(&[], receipt) {
                    self.output.put(&[], receipt).await;
                }
            }
        }
    }

    /// Before a wait: gives the rest of the claim back to the other consumers, and passes on finished records.
    async fn make_way(&mut self) {
        self.receiver.give_back();
        self.hand_on(Urgency::Soon).await;
    }

    async fn hand_on(&mut self, urgency: Urgency) {
        // Concurrently: one of them may have to wait for room, which must not delay the other.
        tokio::join!(self.output.hand_on(urgency), self.rejected.hand_on(urgency));
    }

    async fn append(&mut self, consumer: &Consumer, message: &Message, records: &mut [Record]) {
        if self.with_source_id
            && let Some(id) = message.entry_id()
        {
            for record in records.iter_mut() {
                record.set(SOURCE_ID, id.to_string());
            }
        }
        if records.is_empty() {
            self.skip(message).await;
        } else if records.iter().any(Record::is_empty) {
            let reason = "the processor returned a record without fields, which a stream cannot hold";
            self.reject(consumer, message, reason).await;
        } else if !self.output.try_put(records, message.receipt()) {
            self.output.put(records, message.receipt()).await;
        }
    }

    async fn reject(&mut self, consumer: &Consumer, message: &Message, reason: &str) {
        let mut record = Record::with_capacity(message.payload().len() + reason.len() + 160);
        match message.encoded_fields() {
            // Unchanged, so that the entry can be appended to the input again.
            Some(_) => record.extend(message.fields()),
            None => record.push(PAYLOAD, message.payload()),
        }
        if let Some(length) = message.full_length() {
            record.push(PAYLOAD_BYTES, length.to_string());
        }
        record.push(ERROR, reason);
        record.push(CONSUMER_ID, consumer.id());
        record.push(SOURCE, message.channel());
        if let Some(id) = message.entry_id() {
            record.push(SOURCE_ID, id.to_string());
        }
        let attempts = message.attempt().min(self.max_attempts);
        record.push(ATTEMPTS, message.earlier_attempts().saturating_add(attempts).to_string());
        if !self.rejected.try_put(std::slice::from_ref(&record), message.receipt()) {
            self.output.hand_on(Urgency::Soon).await;
            self.rejected.put(&[record], message.receipt()).await;
        }
    }
}
