//! A message: a slice of the buffer that the socket was read into.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::buffer::Reservation;

/// What a source delivers: the payload, and the channel it came from. Cheap to clone.
///
/// Its memory counts against [`Config::buffer`](crate::Config::buffer) for as long as it, or a clone of it,
/// is held.
#[derive(Clone)]
pub struct Message {
    batch: Arc<Batch>,
    index: usize,
    attempt: u32,
}

/// Messages that arrived together. They share one buffer, and are handed out one by one.
pub(crate) struct Batch {
    channel: Arc<str>,
    bytes: Bytes,
    spans: Vec<Span>,
    /// The attempt that comes next, counted from 1.
    attempt: u32,
    /// The whole length of a payload of which only the first bytes were kept.
    full_length: Option<u64>,
    next: AtomicUsize,
    reservation: Reservation,
}

/// Where a payload lies in its batch's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Message {
    /// The payload, byte for byte as it was published.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        let span = self.batch.spans[self.index];
        &self.batch.bytes[span.start as usize..][..span.len as usize]
    }

    /// The channel that it was published to.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.batch.channel
    }

    /// Which attempt at this message this is, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The whole length of a payload that was too long to be kept.
    pub(crate) fn full_length(&self) -> Option<u64> {
        self.batch.full_length
    }

    /// The same message with memory of its own, so that it does not hold the batch it came with. `None` when there
    /// is no room for that.
    pub(crate) fn detached(&self) -> Option<Self> {
        Some(Self { batch: self.copied(0)?, index: 0, attempt: self.attempt })
    }

    /// A copy that waits for the next attempt. `None` when there is no room for it.
    pub(crate) fn set_aside(&self) -> Option<Arc<Batch>> {
        /// Its places in the channel to the task that waits, and in that task's queue of delays.
        const ASIDE: usize = 192;
        self.copied(ASIDE)
    }

    /// The same message for its next attempt.
    pub(crate) fn again(self) -> Self {
        Self { attempt: self.attempt + 1, ..self }
    }

    /// A batch of this message alone, of which the next attempt comes when it is handed out.
    fn copied(&self, beside: usize) -> Option<Arc<Batch>> {
        let bytes = self.payload();
        let reservation =
            self.batch.reservation.buffer().try_reserve(Batch::cost(bytes.len(), 1) + beside)?;
        Some(Arc::new(Batch {
            channel: self.batch.channel.clone(),
            bytes: Bytes::copy_from_slice(bytes),
            spans: vec![Span { start: 0, len: self.batch.spans[self.index].len }],
            attempt: self.attempt + 1,
            full_length: self.batch.full_length,
            next: AtomicUsize::new(0),
            reservation,
        }))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("channel", &self.channel())
            .field("payload", &String::from_utf8_lossy(self.payload()))
            .field("attempt", &self.attempt())
            .finish()
    }
}

impl Batch {
    pub(crate) fn new(channel: Arc<str>, bytes: Bytes, spans: Vec<Span>, reservation: Reservation) -> Self {
        Self { channel, bytes, spans, attempt: 1, full_length: None, next: AtomicUsize::new(0), reservation }
    }

    /// One message of which only the first bytes were kept.
    pub(crate) fn oversize(
        channel: Arc<str>,
        head: Bytes,
        full_length: u64,
        reservation: Reservation,
    ) -> Self {
        let spans = vec![Span { start: 0, len: u32::try_from(head.len()).unwrap_or(u32::MAX) }];
        Self { full_length: Some(full_length), ..Self::new(channel, head, spans, reservation) }
    }

    /// The memory that a batch holds: its bytes, and what we keep beside them.
    pub(crate) fn cost(bytes: usize, messages: usize) -> usize {
        // The batch with its counts, the allocations' own headers, the place in the queue.
        const BESIDE: usize = size_of::<Batch>() + 64;
        bytes + messages * size_of::<Span>() + BESIDE
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The attempt at its messages that comes next.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether every message was handed out.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.spans.len()
    }

    /// Hands out the next message. Each is handed out once, whoever asks.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Message> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.spans.len()).then(|| Message { batch: self.clone(), index, attempt: self.attempt })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::buffer::Buffer;

    /// A batch of these payloads, with a buffer of its own.
    pub(crate) fn batch(payloads: &[&str]) -> Arc<Batch> {
        let buffer = Buffer::new(usize::MAX >> 1);
        let mut spans = Vec::new();
        let mut bytes = Vec::new();
        for payload in payloads {
            spans.push(Span { start: bytes.len() as u32, len: payload.len() as u32 });
            bytes.extend_from_slice(payload.as_bytes());
        }
        let reservation = buffer.reserve_beyond(Batch::cost(bytes.len(), spans.len()));
        Arc::new(Batch::new("messages:published".into(), bytes.into(), spans, reservation))
    }

    #[test]
    fn each_message_of_a_batch_is_handed_out_once() {
        let batch = batch(&["a", "bc", ""]);
        let taken: Vec<_> = std::iter::from_fn(|| batch.take()).map(|m| m.payload().to_vec()).collect();
        assert_eq!(taken, [&b"a"[..], b"bc", b""]);
        assert!(batch.is_exhausted());
        assert!(batch.take().is_none());
    }

    #[test]
    fn a_copy_for_the_next_attempt_holds_no_more_than_itself() {
        let batch = batch(&["first", "second"]);
        let buffer = batch.reservation.buffer().clone();
        batch.take();
        let again = batch.take().unwrap().set_aside().unwrap();
        drop(batch);
        let message = again.take().unwrap();
        assert_eq!((message.payload(), message.attempt()), (&b"second"[..], 2));
        assert_eq!(buffer.used(), Batch::cost(6, 1) + 192);
    }

    #[test]
    fn without_room_there_is_no_copy() {
        let buffer = Buffer::new(Batch::cost(11, 2));
        let reservation = buffer.try_reserve(buffer.limit()).unwrap();
        let spans = vec![Span { start: 0, len: 5 }, Span { start: 5, len: 6 }];
        let batch = Arc::new(Batch::new("c".into(), Bytes::from_static(b"firstsecond"), spans, reservation));
        let message = batch.take().unwrap();
        assert!(message.detached().is_none() && message.set_aside().is_none());
        let again = message.again();
        assert_eq!((again.payload(), again.attempt()), (&b"first"[..], 2));
    }
}
