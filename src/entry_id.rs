//! The id of a stream entry.

use std::fmt;
use std::str::FromStr;

/// The id of a stream entry: normally milliseconds since 1970, and a sequence number within the millisecond. Written
/// and parsed as `1700000000000-0`. Ids within one stream always increase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970 by the server's clock, unless the producer chose another number.
    pub ms: u64,
    /// The sequence number within the millisecond, from 0.
    pub seq: u64,
}

impl EntryId {
    /// Two numbers of 20 digits and a dash.
    const MOST_BYTES: usize = 41;

    /// Parses an id from the server.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', bytes)?;
        Some(Self { ms: number(&bytes[..dash])?, seq: number(&bytes[dash + 1..])? })
    }

    /// Writes the id as one argument of a command.
    pub(crate) fn push(self, out: &mut Vec<u8>) {
        let mut text = [0; Self::MOST_BYTES];
        let mut end = 0;
        for part in [
            itoa::Buffer::new().format(self.ms).as_bytes(),
            b"-",
            itoa::Buffer::new().format(self.seq).as_bytes(),
        ] {
            text[end..end + part.len()].copy_from_slice(part);
            end += part.len();
        }
        crate::record::push_bulk(out, &text[..end]);
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// The text is not the id of a stream entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an entry id; write it like 1700000000000-0")]
pub struct EntryIdError {
    text: String,
}

impl FromStr for EntryId {
    type Err = EntryIdError;

    /// As in Redis: an id without a dash is the first one of its millisecond.
    fn from_str(text: &str) -> Result<Self, EntryIdError> {
        let whole = text.parse().ok().map(|ms| Self { ms, seq: 0 });
        whole
            .filter(|_| !text.starts_with('+'))
            .or_else(|| Self::parse(text.as_bytes()))
            .ok_or_else(|| EntryIdError { text: text.to_owned() })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, &digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_read_back_from_its_text_and_sent_as_that_text(ms in any::<u64>(), seq in any::<u64>()) {
            let id = EntryId { ms, seq };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let mut sent = Vec::new();
            id.push(&mut sent);
            prop_assert_eq!(sent, format!("${}\r\n{id}\r\n", id.to_string().len()).into_bytes());
        }
    }

    #[test]
    fn a_text_that_is_not_an_id_is_refused() {
        for text in ["", "-", "1-", "-1", "a-b", "1-2-3", "+1-0", "+1", "18446744073709551616-0", "1 -0"] {
            assert!(text.parse::<EntryId>().is_err(), "{text}");
        }
        assert_eq!("7".parse(), Ok(EntryId { ms: 7, seq: 0 }));
    }
}
