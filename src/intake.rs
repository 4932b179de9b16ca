//! The intake: messages from a source become a batch in the queue, or are spilled, or dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::buffer::{Buffer, Reservation};
use crate::config::Overflow;
use crate::dropped::DropCause;
use crate::events::Events;
use crate::message::{Batch, Entries, Origin, Span};
use crate::queue::{Demand, Queue};
use crate::spill::Spill;
use crate::text;

/// Receives the messages of a source. The only place that drops messages.
pub(crate) struct Intake {
    queue: Arc<Queue>,
    buffer: Arc<Buffer>,
    events: Arc<Events>,
    overflow: Overflow,
    /// Takes messages that find no room, with [`Overflow::Spill`].
    spill: Option<Spill>,
    limit: Option<Arc<Limit>>,
    /// Cancelled when the limit of messages was received.
    stop: CancellationToken,
}

/// The number of messages to receive before the stop, by all shards together.
#[derive(Debug)]
pub(crate) struct Limit {
    most: u64,
    received: AtomicU64,
}

impl Limit {
    pub(crate) fn new(most: u64) -> Self {
        Self { most, received: AtomicU64::new(0) }
    }

    /// Counts messages. Returns whether the limit is reached.
    fn receive(&self, messages: u64) -> bool {
        self.received.fetch_add(messages, Ordering::AcqRel) + messages >= self.most
    }

    fn left(&self) -> u64 {
        self.most.saturating_sub(self.received.load(Ordering::Acquire))
    }
}

impl Intake {
    pub(crate) fn new(
        queue: Arc<Queue>,
        buffer: Arc<Buffer>,
        events: Arc<Events>,
        overflow: Overflow,
        spill: Option<Spill>,
        limit: Option<Arc<Limit>>,
        stop: CancellationToken,
    ) -> Self {
        Self { queue, buffer, events, overflow, spill, limit, stop }
    }

    /// Counts messages as received. They are accepted or dropped afterwards.
    pub(crate) fn receive(&self, messages: u64) {
        self.events.counts.receive(messages);
        if self.limit.as_ref().is_some_and(|limit| limit.receive(messages)) {
            self.stop.cancel();
        }
    }

    /// Accepts a run of received messages. With [`Overflow::Wait`] it waits until there is room for them, and nothing
    /// is read until then; with [`Overflow::Drop`] it accepts as many as there is room for.
    pub(crate) async fn accept(&self, channel: &Arc<str>, bytes: Bytes, spans: Vec<Span>) {
        match self.reserve(Batch::cost(bytes.len(), spans.capacity())).await {
            Some(reservation) => self.push(Batch::new(channel.clone(), bytes, spans, reservation)),
            None => {
                let batch = self.oldest_that_fit(channel, &bytes, &spans);
                let fitting = batch.as_ref().map_or(0, Batch::len);
                if let Some(batch) = batch {
                    self.push(batch);
                }
                self.spill_or_drop(channel, &bytes, &spans[fitting..]).await;
            }
        }
    }

    /// Accepts the first bytes of a received message that was too long.
    pub(crate) async fn accept_oversize(&self, channel: &Arc<str>, head: Bytes, full_length: u64) {
        let reservation = self.reserve(Batch::cost(head.len(), 1)).await;
        match reservation {
            Some(reservation) => self.push(Batch::oversize(channel.clone(), head, full_length, reservation)),
            // Not spilled: it would come back as a shorter message.
            None => self.drop_messages(channel, 1, DropCause::BufferFull),
        }
    }

    /// Waits until no more than `few` messages wait for consumers (if `few` is given), or more consumers are idle than
    /// messages wait.
    pub(crate) async fn demand(&self, few: Option<usize>) -> Demand {
        self.queue.runs_low(few).await
    }

    /// The number of received messages that are not finished yet.
    pub(crate) fn in_flight(&self) -> u64 {
        self.events.counts.read().in_flight()
    }

    /// The number of received messages that were not discarded because their epoch was over.
    pub(crate) fn unfenced(&self) -> u64 {
        let ledger = self.events.counts.read();
        ledger.received.saturating_sub(ledger.fenced)
    }

    /// The number of messages that may still be received.
    pub(crate) fn left(&self) -> usize {
        self.limit.as_ref().map_or(usize::MAX, |limit| usize::try_from(limit.left()).unwrap_or(usize::MAX))
    }

    /// Receives and accepts entries of a stream. Entries that were tried before go first.
    pub(crate) async fn accept_entries(
        &self,
        stream: &Arc<str>,
        bytes: Bytes,
        spans: Vec<Span>,
        entries: Entries,
        attempt: u32,
    ) {
        let messages = spans.len() as u64;
        match entries.origin {
            Origin::Input(_) | Origin::Rejected(_) => self.receive(messages),
            Origin::Spill => self.events.counts.read_back(messages),
        }
        let cost = Batch::cost(bytes.len(), spans.capacity()) + Batch::cost_of_entries(entries.list.len());
        let reservation = self.buffer.reserve(cost).await;
        let batch = Arc::new(Batch::of_stream(stream.clone(), bytes, spans, entries, attempt, reservation));
        if attempt > 1 { self.queue.push_first(batch) } else { self.queue.push(batch) }
    }

    /// Reports entries that were taken over from another consumer.
    pub(crate) fn taken_over(&self, entries: u64, holder: &str, stream: &str) {
        if entries > 0 {
            self.events.taken_over(entries, holder, stream);
        }
    }

    /// Counts and reports entries that were deleted while pending.
    pub(crate) fn deleted(&self, entries: u64) {
        if entries > 0 {
            tracing::warn!(
                event = "deleted",
                count = entries,
                "lost {}: deleted while pending",
                text::entries(entries)
            );
            self.events.counts.delete(entries);
        }
    }

    /// Counts and reports entries that were trimmed before they were read; `None` if their number is unknown.
    pub(crate) fn trimmed(&self, entries: Option<u64>, stream: &str) {
        let many = entries.map_or_else(
            || "an unknown number of entries".to_owned(),
            |entries| text::entries(entries).to_string(),
        );
        tracing::warn!(
            event = "trimmed",
            stream,
            count = entries,
            "lost {many} of {stream} that were trimmed before they were read; read faster, or trim later"
        );
        self.events.counts.trim(entries);
    }

    /// Reports that the group was missing and was recreated.
    pub(crate) fn group_lost(&self, answer: &str, group: &str, stream: &str) {
        tracing::warn!(
            event = "group_lost",
            stream,
            cause = answer,
            "the group {group} of {stream} no longer existed ({answer}) and was recreated; entries may be processed \
             again, or not at all"
        );
        self.events.counts.lose_group();
    }

    /// Counts and reports messages lost with a deleted spill. `left`: messages that were spilled since.
    pub(crate) fn spill_lost(&self, left: u64, spill: &str) {
        let lost = self.events.counts.lose_spill(left);
        if lost > 0 {
            tracing::warn!(
                event = "spill_lost",
                stream = spill,
                count = lost,
                "lost {}: the spill {spill} was deleted",
                text::messages(lost)
            );
        }
    }

    /// The events of the group, for reports of gaps.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    async fn reserve(&self, cost: usize) -> Option<Reservation> {
        match self.overflow {
            Overflow::Drop | Overflow::Spill => self.buffer.try_reserve(cost),
            Overflow::Wait => Some(self.buffer.reserve(cost).await),
        }
    }

    fn oldest_that_fit(&self, channel: &Arc<str>, bytes: &Bytes, spans: &[Span]) -> Option<Batch> {
        let room = self.buffer.room();
        let end = |span: &Span| span.start as usize + span.len as usize;
        let fitting =
            spans.iter().enumerate().take_while(|(at, span)| Batch::cost(end(span), at + 1) <= room).count();
        let spans = spans[..fitting].to_vec();
        let end = end(spans.last()?);
        let reservation = self.buffer.try_reserve(Batch::cost(end, fitting))?;
        // Copied: a slice would keep the whole buffer alive.
        Some(Batch::new(channel.clone(), Bytes::copy_from_slice(&bytes[..end]), spans, reservation))
    }

    fn push(&self, batch: Batch) {
        self.queue.push(Arc::new(batch));
    }

    async fn spill_or_drop(&self, channel: &Arc<str>, bytes: &Bytes, spans: &[Span]) {
        let (spilled, cause) = match &self.spill {
            Some(spill) => spill.take(bytes, spans).await,
            None => (0, DropCause::BufferFull),
        };
        self.drop_messages(channel, (spans.len() - spilled) as u64, cause);
    }

    /// Drops messages because something is full, and counts them.
    fn drop_messages(&self, channel: &Arc<str>, messages: u64, cause: DropCause) {
        if messages > 0 {
            self.events.dropped(messages, channel, self.buffer.limit(), cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::Counts;

    fn intake(limit: usize, overflow: Overflow) -> (Intake, Arc<Queue>, Arc<Counts>) {
        let (queue, events) = (Queue::new(), Arc::new(Events::default()));
        let counts = events.counts.clone();
        let stop = CancellationToken::new();
        let most = Some(Arc::new(Limit::new(100)));
        let intake = Intake::new(queue.clone(), Buffer::new(limit), events, overflow, None, most, stop);
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
        intake.accept(&channel, bytes, spans).await;
        let ledger = counts.read();
        assert_eq!((ledger.received, ledger.dropped, ledger.in_flight()), (10, 6, 4));
        queue.close();
        let mut receiver = queue.receiver();
        let mut taken = 0;
        while receiver.next(1).await.is_some() {
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
                    intake.accept(&channel, bytes, spans).await;
                }
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            (counts.read().received, counts.read().in_flight()),
            (20, 20),
            "ten of them wait for room"
        );
        let mut receiver = queue.receiver();
        for _ in 0..30 {
            receiver.next(1).await.unwrap();
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
            intake.accept(&channel, bytes, spans).await;
            assert_eq!(intake.stop.is_cancelled(), round == 10);
        }
    }
}
