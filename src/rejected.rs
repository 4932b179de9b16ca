//! Rejected messages: the original message, why it was rejected, and by which consumer.

mod entry;

pub use self::entry::RejectedEntry;
pub(crate) use self::entry::{ATTEMPTS, CONSUMER_ID, ERROR, PAYLOAD, PAYLOAD_BYTES, SOURCE, SOURCE_ID};
use crate::entry_id::EntryId;
use crate::record::Record;

/// A message that is confirmed to be in the stream of rejected messages. See
/// [`Builder::on_reject`](crate::Builder::on_reject).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    reason: String,
    message: Record,
    payload_bytes: Option<u64>,
    channel: String,
    entry_id: Option<EntryId>,
    attempts: u32,
    consumer_id: String,
}

impl Rejected {
    /// Reads the fields of an entry that a group wrote. `None` if they are not such fields.
    pub(crate) fn of<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Option<Self> {
        let fields: Vec<_> = fields.into_iter().collect();
        let entry = RejectedEntry::of(&fields)?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            reason: text(entry.error),
            message: fields[..entry.fields].iter().copied().collect(),
            payload_bytes: entry.payload_bytes,
            channel: text(entry.source),
            entry_id: entry.source_id,
            attempts: entry.attempts.unwrap_or_default(),
            consumer_id: text(entry.consumer_id),
        })
    }

    /// Why the message was rejected: the reason of its [`Failure`](crate::Failure) with all causes, after
    /// `gave up after 5 attempts: ` if it was tried too often.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The payload. For an entry with several fields, it is the value of the field `payload`, and empty without such a
    /// field. Of a payload that was too long, it is the first bytes.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.message.get(PAYLOAD).unwrap_or_default()
    }

    /// The full length, in bytes, of a payload that was longer than [`Config::max_payload`](crate::Config::max_payload).
    #[must_use]
    pub fn payload_bytes(&self) -> Option<u64> {
        self.payload_bytes
    }

    /// The fields and values of the entry, in order. A message that was only a payload has the one field `payload`.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.message.iter()
    }

    /// The channel that the message was published to; for an entry, the name of its stream.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The id of the entry in that stream. `None` for a message that was published to a channel.
    #[must_use]
    pub fn entry_id(&self) -> Option<EntryId> {
        self.entry_id
    }

    /// The number of attempts, including those before a replay.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The id of the consumer that rejected it.
    #[must_use]
    pub fn consumer_id(&self) -> &str {
        &self.consumer_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_entry_tells_its_own_fields_apart_from_those_of_the_group() {
        let own = Record::new().field("error", "of the message").bytes("image", [0, 255]);
        let group = [("error", "no such customer"), ("consumer_id", "c"), ("source", "orders")];
        let mut entry = own.clone();
        entry.extend(group);
        entry.extend([("source_id", "5-1"), ("attempts", "3")]);
        let rejected = Rejected::of(entry.iter()).unwrap();
        assert_eq!((rejected.reason(), rejected.attempts()), ("no such customer", 3));
        assert_eq!((rejected.channel(), rejected.consumer_id()), ("orders", "c"));
        assert_eq!(rejected.entry_id(), Some(EntryId { ms: 5, seq: 1 }));
        assert!(rejected.fields().eq(own.iter()));
        assert_eq!((rejected.payload(), rejected.payload_bytes()), (&b""[..], None));
    }

    #[test]
    fn the_payload_is_that_of_the_message() {
        let entry = Record::new().field("payload", "x").field("payload_bytes", 900);
        let mut entry = entry.field("error", "too long").field("consumer_id", "c").field("source", "orders");
        entry.push("attempts", "1");
        let rejected = Rejected::of(entry.iter()).unwrap();
        assert_eq!((rejected.payload(), rejected.payload_bytes()), (&b"x"[..], Some(900)));
        assert_eq!(rejected.entry_id(), None);
    }
}
