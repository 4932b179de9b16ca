//! The id of a stream's entry.

use std::fmt;
use std::str::FromStr;

/// The id of an entry of a stream: milliseconds since 1970 as a rule, and a number among those of one millisecond.
/// Shown and read as `1700000000000-0`. Ids of one stream only ever grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Milliseconds since 1970 by the server's clock, unless whoever appended it chose otherwise.
    pub ms: u64,
    /// Its number among the entries of that millisecond, from 0.
    pub seq: u64,
}

impl EntryId {
    /// Two numbers of 20 digits and a dash.
    const MOST_BYTES: usize = 41;

    /// Reads what a server sent.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let dash = memchr::memchr(b'-', bytes)?;
        Some(Self { ms: number(&bytes[..dash])?, seq: number(&bytes[dash + 1..])? })
    }

    /// Writes it as one argument of a command.
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

impl FromStr for EntryId {
    type Err = String;

    /// As Redis reads it: without a dash it is the first one of its millisecond.
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = text.parse().ok().map(|ms| Self { ms, seq: 0 });
        whole
            .filter(|_| !text.starts_with('+'))
            .or_else(|| Self::parse(text.as_bytes()))
            .ok_or_else(|| format!("{text:?} is no id of an entry; write it like 1700000000000-0"))
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
        fn what_is_shown_is_read_back_and_so_is_what_is_sent(ms in any::<u64>(), seq in any::<u64>()) {
            let id = EntryId { ms, seq };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let mut sent = Vec::new();
            id.push(&mut sent);
            prop_assert_eq!(sent, format!("${}\r\n{id}\r\n", id.to_string().len()).into_bytes());
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "-", "1-", "-1", "a-b", "1-2-3", "+1-0", "+1", "18446744073709551616-0", "1 -0"] {
            assert!(text.parse::<EntryId>().is_err(), "{text}");
        }
        assert_eq!("7".parse(), Ok(EntryId { ms: 7, seq: 0 }));
    }
}
