//! A message: a slice of the buffer that the socket was read into.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::buffer::Reservation;

/// What a source delivers: the payload, and the channel it came from. Cheap to clone.
///
/// Its memory counts against [`Config::buffer`](crate::Config::buffer) for as long as it, or a clone of it,
/// is held.
#[derive(Clone)]
pub struct Message {
    batch: Share,
    index: usize,
    attempt: u32,
}

/// One consumer's reference to a batch. Messages count on it rather than on the batch itself, whose count all
/// consumers would write to, each taking the cache line from the others.
type Share = Arc<Arc<Batch>>;

/// Messages that arrived together. They share one buffer.
pub(crate) struct Batch {
    channel: Arc<str>,
    bytes: Bytes,
    spans: Vec<Span>,
    /// The attempt that comes next, counted from 1.
    attempt: u32,
    /// The whole length of a payload of which only the first bytes were kept.
    full_length: Option<u64>,
    reservation: Reservation,
}

/// Messages of a batch that follow each other, and that nobody else has.
pub(crate) struct Portion {
    batch: Share,
    left: Range<usize>,
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
        Some(Self { batch: Arc::new(self.copied(0)?), index: 0, attempt: self.attempt })
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
        Self { channel, bytes, spans, attempt: 1, full_length: None, reservation }
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
        const BESIDE: usize = size_of::<Batch>() + size_of::<Portion>() + 96;
        bytes + messages * size_of::<Span>() + BESIDE
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The attempt at its messages that comes next.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl Portion {
    /// All messages of a batch.
    pub(crate) fn of(batch: Arc<Batch>) -> Self {
        let left = 0..batch.len();
        Self { batch: Arc::new(batch), left }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes the first messages off it, `most` at most.
    pub(crate) fn split(&mut self, most: usize) -> Self {
        let middle = self.left.end.min(self.left.start + most);
        let left = self.left.start..middle;
        self.left.start = middle;
        Self { batch: Arc::new(Arc::clone(&self.batch)), left }
    }

    /// Takes the first message off it.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let index = self.left.next()?;
        Some(Message { batch: self.batch.clone(), index, attempt: self.batch.attempt })
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
    fn each_message_of_a_batch_is_in_one_portion() {
        let mut rest = Portion::of(batch(&["a", "bc", "", "d"]));
        let mut first = rest.split(2);
        assert!(!first.is_empty() && !rest.is_empty());
        let payloads = |portion: &mut Portion| -> Vec<Vec<u8>> {
            std::iter::from_fn(|| portion.next()).map(|message| message.payload().to_vec()).collect()
        };
        assert_eq!(payloads(&mut first), [&b"a"[..], b"bc"]);
        assert_eq!(payloads(&mut rest.split(100)), [&b""[..], b"d"]);
        assert!(first.is_empty() && rest.is_empty() && rest.next().is_none());
    }

    #[test]
    fn a_copy_for_the_next_attempt_holds_no_more_than_itself() {
        let batch = batch(&["first", "second"]);
        let buffer = batch.reservation.buffer().clone();
        let mut portion = Portion::of(batch);
        portion.next();
        let again = portion.next().unwrap().set_aside().unwrap();
        drop(portion);
        let message = Portion::of(again).next().unwrap();
        assert_eq!((message.payload(), message.attempt()), (&b"second"[..], 2));
        assert_eq!(buffer.used(), Batch::cost(6, 1) + 192);
    }

    #[test]
    fn without_room_there_is_no_copy() {
        let buffer = Buffer::new(Batch::cost(11, 2));
        let reservation = buffer.try_reserve(buffer.limit()).unwrap();
        let spans = vec![Span { start: 0, len: 5 }, Span { start: 5, len: 6 }];
        let batch = Arc::new(Batch::new("c".into(), Bytes::from_static(b"firstsecond"), spans, reservation));
        let message = Portion::of(batch).next().unwrap();
        assert!(message.detached().is_none() && message.set_aside().is_none());
        let again = message.again();
        assert_eq!((again.payload(), again.attempt()), (&b"first"[..], 2));
    }
}
