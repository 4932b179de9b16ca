//! The fields of an entry in the stream of rejected messages.

use crate::entry_id::EntryId;

/// The fields after those of the message, in this order.
pub(crate) const PAYLOAD_BYTES: &str = "payload_bytes";
pub(crate) const ERROR: &str = "error";
pub(crate) const CONSUMER_ID: &str = "consumer_id";
pub(crate) const SOURCE: &str = "source";
pub(crate) const SOURCE_ID: &str = "source_id";
pub(crate) const ATTEMPTS: &str = "attempts";

/// The field for a message that is only a payload, such as one from a channel.
pub(crate) const PAYLOAD: &str = "payload";

/// The fields that a group wrote about a message that it rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedEntry<'a> {
    /// How many of the entry's fields, counted from the first one, are those of the message.
    pub fields: usize,
    /// Why the message was rejected.
    pub error: &'a [u8],
    /// The id of the consumer that rejected it.
    pub consumer_id: &'a [u8],
    /// The channel or stream that it came from.
    pub source: &'a [u8],
    /// Its entry id in that stream; `None` for a message from a channel.
    pub source_id: Option<EntryId>,
    /// How often it was tried, including earlier replays.
    pub attempts: Option<u32>,
    /// The full length, in bytes, of a payload that was too long: the entry holds only its first bytes.
    pub payload_bytes: Option<u64>,
}

impl<'a> RejectedEntry<'a> {
    /// Reads an entry's fields, from the end, because the message may have fields of the same names. `None` if they
    /// do not end like those that a group writes.
    #[must_use]
    pub fn of(fields: &[(&'a [u8], &'a [u8])]) -> Option<Self> {
        let mut rest = fields;
        let attempts = take(&mut rest, ATTEMPTS).and_then(number);
        let source_id = take(&mut rest, SOURCE_ID).and_then(EntryId::parse);
        let source = take(&mut rest, SOURCE)?;
        let consumer_id = take(&mut rest, CONSUMER_ID)?;
        let error = take(&mut rest, ERROR)?;
        // Entries of a stream are never cut.
        let payload_bytes = match rest {
            [(PAYLOAD_NAME, _), _] if source_id.is_none() => take(&mut rest, PAYLOAD_BYTES).and_then(number),
            _ => None,
        };
        Some(Self { fields: rest.len(), error, consumer_id, source, source_id, attempts, payload_bytes })
    }
}

const PAYLOAD_NAME: &[u8] = PAYLOAD.as_bytes();

fn take<'a>(fields: &mut &[(&'a [u8], &'a [u8])], name: &str) -> Option<&'a [u8]> {
    let ((last, value), before) = fields.split_last()?;
    (*last == name.as_bytes()).then(|| {
        *fields = before;
        *value
    })
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &'static str)]) -> Option<RejectedEntry<'static>> {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        RejectedEntry::of(&fields)
    }

    const BY_US: [(&str, &str); 3] = [("error", "bad"), ("consumer_id", "c"), ("source", "messages")];

    #[test]
    fn the_message_stands_before_what_the_group_wrote() {
        let rejected = of(&[&[("payload", "x")][..], &BY_US, &[("attempts", "5")]].concat()).unwrap();
        assert_eq!((rejected.fields, rejected.error, rejected.attempts), (1, &b"bad"[..], Some(5)));
        assert_eq!((rejected.source_id, rejected.payload_bytes), (None, None));
    }

    #[test]
    fn fields_of_the_message_may_have_the_same_names() {
        let own = [("error", "of the message"), ("consumer_id", ""), ("source", ""), ("payload_bytes", "7")];
        let rejected = of(&[&own[..], &BY_US, &[("source_id", "5-1")]].concat()).unwrap();
        assert_eq!((rejected.fields, rejected.error), (4, &b"bad"[..]));
        assert_eq!(rejected.source_id, Some(EntryId { ms: 5, seq: 1 }));
    }

    #[test]
    fn a_payload_that_was_cut_says_how_long_it_was() {
        let cut = of(&[&[("payload", "x"), ("payload_bytes", "900")][..], &BY_US].concat()).unwrap();
        assert_eq!((cut.fields, cut.payload_bytes), (1, Some(900)));
    }

    #[test]
    fn an_entry_that_no_group_wrote_is_recognized() {
        assert_eq!(of(&[("payload", "x")]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("error", "x"), ("source", "y")]), None);
    }
}
