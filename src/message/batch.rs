//! A batch: messages that arrived together.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Message;
use super::entries::{Entries, Entry};
use crate::buffer::Reservation;

/// Messages that arrived together and share one buffer.
pub(crate) struct Batch {
    pub(super) channel: Arc<str>,
    pub(super) bytes: Bytes,
    pub(super) spans: Vec<Span>,
    /// The entries behind the messages, if they came from a stream.
    pub(super) entries: Option<Entries>,
    /// The next attempt, counted from 1.
    pub(super) attempt: u32,
    /// The full length of a payload of which only the first bytes were kept.
    pub(super) full_length: Option<u64>,
    pub(super) reservation: Reservation,
}

/// The position of a payload in its batch's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

/// Consecutive messages of a batch that nobody else has.
pub(crate) struct Portion {
    batch: Share,
    left: Range<usize>,
}

/// One consumer's reference to a batch. Its messages count on this rather than on the batch itself: all consumers would
/// write to the batch's count, and take the cache line from each other.
pub(super) type Share = Arc<Arc<Batch>>;

impl Batch {
    pub(crate) fn new(channel: Arc<str>, bytes: Bytes, spans: Vec<Span>, reservation: Reservation) -> Self {
        Self { channel, bytes, spans, entries: None, attempt: 1, full_length: None, reservation }
    }

    /// Entries of a stream, for this attempt.
    pub(crate) fn of_stream(
        stream: Arc<str>,
        bytes: Bytes,
        spans: Vec<Span>,
        entries: Entries,
        attempt: u32,
        reservation: Reservation,
    ) -> Self {
        debug_assert_eq!(spans.len(), entries.list.len());
        Self { entries: Some(entries), attempt, ..Self::new(stream, bytes, spans, reservation) }
    }

    /// The same batch at a later attempt.
    #[cfg(feature = "testing")]
    pub(crate) fn at_attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
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

    /// The memory of a batch: its bytes and the bookkeeping for them.
    pub(crate) fn cost(bytes: usize, messages: usize) -> usize {
        // The batch with its reference counts, the headers of its allocations, its place in the queue.
        const BESIDE: usize = size_of::<Batch>() + size_of::<Portion>() + 96;
        bytes + messages * size_of::<Span>() + BESIDE
    }

    /// The additional memory if the messages are entries of a stream.
    pub(crate) fn cost_of_entries(messages: usize) -> usize {
        messages * size_of::<Entry>()
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Records the start of the next attempt. For entries of a stream, the stream's group keeps the count.
    pub(crate) fn begins_again(&self) {
        if let Some(entries) = &self.entries {
            for entry in &entries.list {
                entries.epoch.begins(entry.id, self.attempt);
            }
        }
    }

    /// The next attempt at its messages.
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

    pub(crate) fn len(&self) -> usize {
        self.left.len()
    }

    /// Removes and returns the first messages, at most `most`.
    pub(crate) fn split(&mut self, most: usize) -> Self {
        let middle = self.left.end.min(self.left.start + most);
        let left = self.left.start..middle;
        self.left.start = middle;
        Self { batch: Arc::new(Arc::clone(&self.batch)), left }
    }

    /// Removes and returns the first message.
    pub(crate) fn next(&mut self) -> Option<Message> {
        let index = self.left.next()?;
        Some(Message { batch: self.batch.clone(), index, attempt: self.batch.attempt })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::batch;
    use super::*;

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
}
