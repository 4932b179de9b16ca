//! The intake: what a source hands over becomes a batch in the queue, or is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::buffer::{Buffer, Reservation};
use crate::config::Overflow;
use crate::ledger::{Counts, Gap};
use crate::message::{Batch, Span};
use crate::queue::Queue;
use crate::throttle::Throttle;

/// Where a source puts what it read. The only place that drops messages.
pub(crate) struct Intake {
    queue: Arc<Queue>,
    buffer: Arc<Buffer>,
    counts: Arc<Counts>,
    overflow: Overflow,
    max_messages: Option<u64>,
    /// Cancelled when `max_messages` were received.
    stop: CancellationToken,
    drops: Throttle,
}

impl Intake {
    pub(crate) fn new(
        queue: Arc<Queue>,
        buffer: Arc<Buffer>,
        counts: Arc<Counts>,
        overflow: Overflow,
        max_messages: Option<u64>,
        stop: CancellationToken,
    ) -> Self {
        Self { queue, buffer, counts, overflow, max_messages, stop, drops: Throttle::default() }
    }

    /// Receives messages: from here on the ledger knows them. They are kept, or dropped, afterwards.
    pub(crate) fn receive(&self, messages: u64) {
        let received = self.counts.receive(messages);
        if self.max_messages.is_some_and(|limit| received >= limit) {
            self.stop.cancel();
        }
    }

    /// Keeps a run of messages that were received. With [`Overflow::Wait`] it waits until there is room for
    /// them, and nothing is read meanwhile; with [`Overflow::Drop`] as many are kept as there is room for.
    pub(crate) async fn keep(&self, channel: &Arc<str>, bytes: Bytes, spans: Vec<Span>) {
        let messages = spans.len();
        let batch = match self.reserve(Batch::cost(bytes.len(), spans.capacity())).await {
            Some(reservation) => Some(Batch::new(channel.clone(), bytes, spans, reservation)),
            None => self.keep_the_oldest(channel, &bytes, spans),
        };
        self.settle(messages, batch);
    }

    /// Keeps what is left of a message that was received: its first bytes.
    pub(crate) async fn keep_oversize(&self, channel: &Arc<str>, head: Bytes, full_length: u64) {
        let reservation = self.reserve(Batch::cost(head.len(), 1)).await;
        let batch =
            reservation.map(|reservation| Batch::oversize(channel.clone(), head, full_length, reservation));
        self.settle(1, batch);
    }

    /// Reports a span of time in which messages may have been published without reaching us.
    pub(crate) fn gap(&self, cause: String, duration: Duration) {
        tracing::warn!("gap of {duration:.1?}: {cause}; what was published meanwhile did not reach us");
        self.counts.gap(Gap { cause, duration });
    }

    async fn reserve(&self, cost: usize) -> Option<Reservation> {
        match self.overflow {
            Overflow::Drop => self.buffer.try_reserve(cost),
            Overflow::Wait => Some(self.buffer.reserve(cost).await),
        }
    }

    fn keep_the_oldest(&self, channel: &Arc<str>, bytes: &Bytes, mut spans: Vec<Span>) -> Option<Batch> {
        let room = self.buffer.room();
        let end = |span: &Span| span.start as usize + span.len as usize;
        let fitting =
            spans.iter().enumerate().take_while(|(at, span)| Batch::cost(end(span), at + 1) <= room).count();
        spans.truncate(fitting);
        spans.shrink_to_fit();
        let end = end(spans.last()?);
        let reservation = self.buffer.try_reserve(Batch::cost(end, fitting))?;
        // As a copy: a part would hold the whole.
        Some(Batch::new(channel.clone(), Bytes::copy_from_slice(&bytes[..end]), spans, reservation))
    }

    fn settle(&self, messages: usize, batch: Option<Batch>) {
        let dropped = messages - batch.as_ref().map_or(0, Batch::len);
        if dropped > 0 {
            self.counts.discard(dropped as u64);
            if let Some(dropped) = self.drops.add(dropped as u64) {
                let limit = self.buffer.limit();
                tracing::warn!(
                    "dropped {dropped} messages: the buffer of {limit} bytes is full; raise --buffer, or add consumers"
                );
            }
        }
        if let Some(batch) = batch {
            self.queue.push(Arc::new(batch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intake(limit: usize, overflow: Overflow) -> (Intake, Arc<Queue>, Arc<Counts>) {
        let (queue, counts) = (Queue::new(), Arc::new(Counts::default()));
        let stop = CancellationToken::new();
        let intake =
            Intake::new(queue.clone(), Buffer::new(limit), counts.clone(), overflow, Some(100), stop);
        (intake, queue, counts)
    }

    fn ten_messages() -> (Arc<str>, Bytes, Vec<Span>) {
        let spans = (0..10).map(|n| Span { start: n * 100 + 20, len: 50 }).collect();
        ("channel".into(), Bytes::from(vec![0; 1000]), spans)
    }

    #[tokio::test]
    async fn the_newest_are_dropped_and_counted() {
        let (intake, queue, counts) = intake(Batch::cost(370, 4), Overflow::Drop);
        let (channel, bytes, spans) = ten_messages();
        intake.receive(10);
        intake.keep(&channel, bytes, spans).await;
        let ledger = counts.read();
        assert_eq!((ledger.received, ledger.dropped, ledger.in_flight()), (10, 6, 4));
        queue.close();
        let mut seat = queue.seat();
        let mut taken = 0;
        while seat.next(1).await.is_some() {
            taken += 1;
        }
        assert_eq!(taken, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_room_drops_nothing() {
        let (intake, queue, counts) = intake(Batch::cost(1000, 10), Overflow::Wait);
        let intake = Arc::new(intake);
        let reader = tokio::spawn({
            let intake = intake.clone();
            async move {
                for _ in 0..3 {
                    let (channel, bytes, spans) = ten_messages();
                    intake.receive(10);
                    intake.keep(&channel, bytes, spans).await;
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            (counts.read().received, counts.read().in_flight()),
            (20, 20),
            "ten of them wait for room"
        );
        let mut seat = queue.seat();
        for _ in 0..30 {
            seat.next(1).await.unwrap();
        }
        reader.await.unwrap();
        assert_eq!((counts.read().received, counts.read().dropped), (30, 0));
    }

    #[tokio::test]
    async fn after_so_many_messages_the_group_is_told_to_stop() {
        let (intake, _, _) = intake(1 << 20, Overflow::Drop);
        for round in 1..=10 {
            let (channel, bytes, spans) = ten_messages();
            intake.receive(10);
            intake.keep(&channel, bytes, spans).await;
            assert_eq!(intake.stop.is_cancelled(), round == 10);
        }
    }
}
