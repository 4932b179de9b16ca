//! A message: a slice of the buffer that the socket was read into.

mod batch;
mod entries;
mod payload;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use self::batch::Share;
pub(crate) use self::batch::{Batch, Portion, Span};
pub(crate) use self::entries::{Earlier, Entries, Entry, Origin};
pub use self::payload::PayloadError;
use crate::entry_id::EntryId;
use crate::epoch::Receipt;
use crate::record;

/// A message from a source: the payload and the channel it came from. An entry of a stream also has fields and an id.
/// Cheap to clone.
///
/// Its memory counts against [`Config::buffer`](crate::Config::buffer) as long as the message or one of its clones
/// exists.
#[derive(Clone)]
pub struct Message {
    batch: Share,
    index: usize,
    attempt: u32,
}

impl Message {
    /// The payload, byte for byte as published. For an entry, it is the value of the field
    /// [`StreamInput::payload_field`](crate::StreamInput::payload_field), and empty without such a field.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match (self.entry(), self.payload_field()) {
            (Some(Entry { fields: 1.., .. }), Some(name)) => {
                let payload = self.fields().find(|(field, _)| *field == name.as_bytes());
                payload.map_or(&[], |(_, value)| value)
            }
            _ => self.content(),
        }
    }

    /// The fields and values of the entry, in order. Empty for a message that was published to a channel.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let count = self.entry().map_or(0, |entry| entry.fields as usize);
        let name = self.payload_field().filter(|_| count == 0);
        let payload = name.map(|name| (name.as_bytes(), self.content()));
        let encoded = if count == 0 { &[] } else { self.content() };
        record::fields(encoded, count).chain(payload)
    }

    /// The id of the entry. `None` for a message that was published to a channel. A replayed message has the id that it
    /// had in its original stream.
    #[must_use]
    pub fn entry_id(&self) -> Option<EntryId> {
        match self.origin()? {
            Origin::Input(_) => self.entry().map(|entry| entry.id),
            Origin::Rejected(earlier) => earlier.source_id,
            Origin::Spill => None,
        }
    }

    /// The channel that the message was published to; for an entry, the name of its stream. A message that comes back
    /// from the spill, or is replayed, has the name that it had at first.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.batch.channel
    }

    /// The number of the current attempt, counted from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The number of attempts before the message was rejected, if it is replayed; otherwise 0.
    pub(crate) fn earlier_attempts(&self) -> u32 {
        match self.origin() {
            Some(Origin::Rejected(earlier)) => earlier.attempts,
            _ => 0,
        }
    }

    /// The fields of an entry, encoded as in a record, and their number. `None` if there is only a payload.
    pub(crate) fn encoded_fields(&self) -> Option<(&[u8], usize)> {
        let fields = self.entry()?.fields as usize;
        (fields > 0).then(|| (self.content(), fields))
    }

    /// The receipt to acknowledge together with the outcome, if the message came from a stream.
    pub(crate) fn receipt(&self) -> Option<Receipt<'_>> {
        let entries = self.batch.entries.as_ref()?;
        Some(Receipt { epoch: &entries.epoch, id: entries.list[self.index].id })
    }

    /// Whether the epoch in which it was read is over: then another member processes it.
    pub(crate) fn is_fenced(&self) -> bool {
        self.batch.entries.as_ref().is_some_and(|entries| entries.epoch.is_over())
    }

    fn content(&self) -> &[u8] {
        let span = self.batch.spans[self.index];
        &self.batch.bytes[span.start as usize..][..span.len as usize]
    }

    fn entry(&self) -> Option<Entry> {
        Some(self.batch.entries.as_ref()?.list[self.index])
    }

    /// The field that may hold the whole payload of an entry. `None` for a message that was published to a channel.
    fn payload_field(&self) -> Option<&str> {
        match self.origin()? {
            Origin::Input(name) => Some(name),
            Origin::Rejected(earlier) => earlier.source_id.and(Some(&earlier.payload_field)),
            Origin::Spill => None,
        }
    }

    fn origin(&self) -> Option<&Origin> {
        Some(&self.batch.entries.as_ref()?.origin)
    }

    /// The full length of a payload that was too long to be kept.
    pub(crate) fn full_length(&self) -> Option<u64> {
        self.batch.full_length
    }

    /// A copy with its own memory, so that the message does not hold the batch it came with. `None` when there is no
    /// room for the copy.
    pub(crate) fn detached(&self) -> Option<Self> {
        Some(Self { batch: Arc::new(self.copied(0)?), index: 0, attempt: self.attempt })
    }

    /// A copy that waits for the next attempt. `None` when there is no room for the copy.
    pub(crate) fn set_aside(&self) -> Option<Arc<Batch>> {
        /// Bytes for its places in the channel to the retry task, and in the delay queue of that task.
        const ASIDE: usize = 192;
        self.copied(ASIDE)
    }

    /// Records the start of this attempt, which is not the first.
    pub(crate) fn begins_again(&self) {
        if let Some(Receipt { epoch, id }) = self.receipt() {
            epoch.begins(id, self.attempt);
        }
    }

    /// The same message for its next attempt.
    pub(crate) fn again(self) -> Self {
        Self { attempt: self.attempt + 1, ..self }
    }

    /// A batch of this message alone, for its next attempt.
    fn copied(&self, beside: usize) -> Option<Arc<Batch>> {
        let bytes = self.content();
        let entry = self.entry();
        let beside = beside + entry.map_or(0, |_| Batch::cost_of_entries(1));
        let reservation =
            self.batch.reservation.buffer().try_reserve(Batch::cost(bytes.len(), 1) + beside)?;
        let entries = self.batch.entries.as_ref().zip(entry);
        Some(Arc::new(Batch {
            channel: self.batch.channel.clone(),
            bytes: Bytes::copy_from_slice(bytes),
            spans: vec![Span { start: 0, len: self.batch.spans[self.index].len }],
            entries: entries.map(|(entries, entry)| Entries {
                epoch: entries.epoch.clone(),
                origin: entries.origin.clone(),
                list: vec![entry],
            }),
            attempt: self.attempt + 1,
            full_length: self.batch.full_length,
            reservation,
        }))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut shown = f.debug_struct("Message");
        shown.field("channel", &self.channel());
        match self.entry_id() {
            Some(id) => {
                let fields: Vec<_> = self.fields().map(|(field, value)| (text(field), text(value))).collect();
                shown.field("entry_id", &id).field("fields", &fields)
            }
            None => shown.field("payload", &text(self.payload())),
        };
        shown.field("attempt", &self.attempt()).finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::buffer::Buffer;

    /// A batch of these payloads, with its own buffer.
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
