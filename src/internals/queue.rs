//! The queue behind its intake, and the arguments of a processor.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{CHANNEL, Run};
use crate::buffer::Buffer;
use crate::config::{Config, Overflow};
use crate::consumer::Consumer;
use crate::events::Events;
use crate::intake::Intake;
use crate::message::{Batch, Message, Portion, Span};
use crate::queue;

/// A queue behind an intake, which reserves room in a buffer of the default size.
pub struct Queue {
    channel: Arc<str>,
    intake: Intake,
    queue: Arc<queue::Queue>,
}

/// One consumer's end of the queue.
pub struct Receiver(queue::Receiver);

impl Queue {
    /// An empty queue.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "nobody asks for a default")]
    pub fn new() -> Self {
        let (queue, events) = (queue::Queue::new(), Arc::new(Events::default()));
        let buffer = Buffer::new(Config::default().buffer);
        let intake =
            Intake::new(queue.clone(), buffer, events, Overflow::Wait, None, None, CancellationToken::new());
        Self { channel: CHANNEL.into(), intake, queue }
    }

    /// Receives a run, and puts it at the end of the queue as a batch.
    pub async fn put(&self, run: Run) {
        self.intake.receive(run.spans.len() as u64);
        self.intake.accept(&self.channel, run.bytes, run.spans).await;
    }

    /// Records that no more messages come.
    pub fn close(&self) {
        self.queue.close();
    }

    /// A receiver for one more consumer.
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        Receiver(self.queue.receiver())
    }
}

impl Receiver {
    /// The next message; `None` when no more messages come. Without a current claim, it claims at most `most` messages.
    pub async fn next(&mut self, most: usize) -> Option<Message> {
        self.0.next(most).await
    }
}

/// A message with this payload.
///
/// # Panics
/// When the payload is longer than 4 GiB.
#[must_use]
pub fn message(payload: &[u8]) -> Message {
    let span = Span { start: 0, len: u32::try_from(payload.len()).expect("a payload of less than 4 GiB") };
    let reservation = Buffer::new(0).reserve_beyond(Batch::cost(payload.len(), 1));
    let batch = Batch::new(CHANNEL.into(), payload.to_vec().into(), vec![span], reservation);
    Portion::of(Arc::new(batch)).next().expect("the only message of its batch")
}

/// A consumer with its own id.
#[must_use]
pub fn consumer(index: usize) -> Consumer {
    Consumer::new(None, index, Uuid::new_v4())
}
