//! Messages that do not come from a server.

use std::sync::Arc;

use uuid::Uuid;

use crate::buffer::Buffer;
use crate::config::StreamInput;
use crate::entry_id::EntryId;
use crate::epoch::Epoch;
use crate::message::{Batch, Entries, Entry, Message, Origin, Portion, Span};
use crate::record::Record;

/// Makes a [`Message`]: a payload that was published to a channel, or an entry of a stream.
///
/// ```
/// use redis_consumer_group::testing::MessageBuilder;
///
/// let message = MessageBuilder::new(r#"{"id":"a"}"#).channel("orders").attempt(2).build();
/// assert_eq!((message.channel(), message.attempt()), ("orders", 2));
///
/// let message = MessageBuilder::entry([("id", "a"), ("size", "3")]).entry_id("1700000000000-7".parse()?).build();
/// assert_eq!(message.fields().count(), 2);
/// assert_eq!(message.entry_id().unwrap().seq, 7);
/// # Ok::<_, redis_consumer_group::EntryIdError>(())
/// ```
#[derive(Debug, Clone)]
pub struct MessageBuilder {
    pub(super) content: Content,
    pub(super) channel: Arc<str>,
    pub(super) attempt: u32,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Payload(Vec<u8>),
    Entry { id: EntryId, fields: Record, payload_field: Arc<str> },
}

impl MessageBuilder {
    /// A message that was published to `messages:published` with this payload, at its first attempt.
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self { content: Content::Payload(payload.into()), channel: "messages:published".into(), attempt: 1 }
    }

    /// An entry of the stream `messages:published` with these fields and the id `1-0`.
    pub fn entry(fields: impl IntoIterator<Item = (impl AsRef<[u8]>, impl AsRef<[u8]>)>) -> Self {
        let content = Content::Entry {
            id: EntryId { ms: 1, seq: 0 },
            fields: fields.into_iter().collect(),
            payload_field: StreamInput::default().payload_field.into(),
        };
        Self { content, ..Self::new("") }
    }

    /// The channel or the stream.
    #[must_use]
    pub fn channel(self, name: impl Into<Arc<str>>) -> Self {
        Self { channel: name.into(), ..self }
    }

    /// The number of the attempt, counted from 1.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }

    /// The id of the entry. A payload becomes an entry with the field `payload`.
    #[must_use]
    pub fn entry_id(mut self, id: EntryId) -> Self {
        match &mut self.content {
            Content::Entry { id: old, .. } => *old = id,
            Content::Payload(payload) => {
                let name = StreamInput::default().payload_field;
                let entry = Self::entry([(name, std::mem::take(payload))]).entry_id(id);
                self.content = entry.content;
            }
        }
        self
    }

    /// The field of the entry that holds its payload. No effect on a published payload.
    #[must_use]
    pub fn payload_field(mut self, name: impl Into<Arc<str>>) -> Self {
        if let Content::Entry { payload_field, .. } = &mut self.content {
            *payload_field = name.into();
        }
        self
    }

    /// Builds the message.
    #[must_use]
    pub fn build(self) -> Message {
        let (bytes, entries) = self.content.into_parts();
        let spans = vec![Span { start: 0, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }];
        let reservation = Buffer::new(usize::MAX >> 1).reserve_beyond(0);
        let (channel, bytes) = (self.channel, bytes.into());
        let batch = match entries {
            Some(entries) => Batch::of_stream(channel, bytes, spans, entries, self.attempt, reservation),
            None => Batch::new(channel, bytes, spans, reservation).at_attempt(self.attempt),
        };
        match Portion::of(Arc::new(batch)).next() {
            Some(message) => message,
            None => unreachable!("a batch of one"),
        }
    }
}

impl Content {
    /// Its bytes, and the stream entries behind them.
    pub(super) fn into_parts(self) -> (Vec<u8>, Option<Entries>) {
        match self {
            Self::Payload(payload) => (payload, None),
            Self::Entry { id, fields, payload_field } => {
                let (epoch, _) = Epoch::new(Uuid::new_v4(), "test".to_owned(), "test".to_owned());
                let entry = Entry { id, fields: u32::try_from(fields.len()).unwrap_or(u32::MAX) };
                let entries = Entries { epoch, origin: Origin::Input(payload_field), list: vec![entry] };
                (fields.encoded().to_vec(), Some(entries))
            }
        }
    }
}

impl From<MessageBuilder> for Message {
    fn from(message: MessageBuilder) -> Self {
        message.build()
    }
}

impl From<&str> for MessageBuilder {
    fn from(payload: &str) -> Self {
        Self::new(payload)
    }
}

impl From<String> for MessageBuilder {
    fn from(payload: String) -> Self {
        Self::new(payload)
    }
}

impl From<&[u8]> for MessageBuilder {
    fn from(payload: &[u8]) -> Self {
        Self::new(payload)
    }
}

impl From<Vec<u8>> for MessageBuilder {
    fn from(payload: Vec<u8>) -> Self {
        Self::new(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::PayloadError;

    #[test]
    fn a_payload_has_no_fields_and_no_id() {
        let message = MessageBuilder::from("a").build();
        assert_eq!((message.payload(), message.channel()), (&b"a"[..], "messages:published"));
        assert_eq!((message.attempt(), message.entry_id(), message.fields().count()), (1, None, 0));
    }

    #[test]
    fn an_entry_has_the_payload_of_the_field_that_is_named_for_it() {
        let entry = MessageBuilder::entry([("id", "a"), ("body", "b")]).attempt(3);
        let message = entry.clone().payload_field("body").build();
        assert_eq!((message.payload(), message.attempt()), (&b"b"[..], 3));
        assert_eq!(message.fields().collect::<Vec<_>>(), [(&b"id"[..], &b"a"[..]), (b"body", b"b")]);
        let none = entry.build();
        assert!(matches!(none.text(), Err(PayloadError::Missing { field }) if field == "payload"));
    }

    #[test]
    fn a_payload_with_an_id_is_an_entry() {
        let id = "5-6".parse().unwrap();
        let message = MessageBuilder::new("a").entry_id(id).build();
        assert_eq!((message.payload(), message.entry_id()), (&b"a"[..], Some(id)));
    }
}
