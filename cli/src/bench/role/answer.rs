//! Parses a server's replies in place, without allocating: the bare move must cost as little as possible.

use std::fmt;

/// Replies, and the position of the parser.
pub(super) struct Answer<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Why a reply cannot be parsed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Its end has not arrived yet.
    Incomplete,
    /// An error, in the server's words.
    Refused(String),
    /// Another type or value was expected.
    Unexpected,
}

impl<'a> Answer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far it was parsed.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The head of an array: the number of elements that follow, or `None` for nil.
    pub(super) fn array(&mut self) -> Result<Option<usize>, Unread> {
        self.number(b'*').map(|count| usize::try_from(count).ok())
    }

    pub(super) fn integer(&mut self) -> Result<i64, Unread> {
        self.number(b':')
    }

    pub(super) fn bulk(&mut self) -> Result<&'a [u8], Unread> {
        let length = usize::try_from(self.number(b'$')?).map_err(|_| Unread::Unexpected)?;
        let text = self.bytes.get(self.at..self.at + length + 2).ok_or(Unread::Incomplete)?;
        self.at += length + 2;
        Ok(&text[..length])
    }

    /// A simple string with this text.
    pub(super) fn simple(&mut self, text: &str) -> Result<(), Unread> {
        if self.line(b'+')? == text.as_bytes() { Ok(()) } else { Err(Unread::Unexpected) }
    }

    /// The bytes since a position.
    pub(super) fn since(&self, position: usize) -> &'a [u8] {
        &self.bytes[position..self.at]
    }

    fn number(&mut self, kind: u8) -> Result<i64, Unread> {
        let text = std::str::from_utf8(self.line(kind)?).map_err(|_| Unread::Unexpected)?;
        text.parse().map_err(|_| Unread::Unexpected)
    }

    fn line(&mut self, kind: u8) -> Result<&'a [u8], Unread> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Unread::Incomplete)?;
        let line = rest[..end].strip_suffix(b"\r").ok_or(Unread::Unexpected)?;
        match line.split_first() {
            Some((first, text)) if *first == kind => {
                self.at += end + 1;
                Ok(text)
            }
            Some((b'-', text)) => Err(Unread::Refused(String::from_utf8_lossy(text).into_owned())),
            _ => Err(Unread::Unexpected),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Incomplete => "an incomplete reply",
            Self::Refused(answer) => answer,
            Self::Unexpected => "an unexpected reply",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_incomplete_until_its_last_byte() {
        let bytes = b"+OK\r\n*2\r\n$3\r\nabc\r\n:256\r\n*-1\r\n";
        let read = |bytes| {
            let mut answer = Answer::new(bytes);
            answer.simple("OK")?;
            let read = (answer.array()?, answer.bulk()?, answer.integer()?, answer.array()?);
            assert!(answer.is_over());
            Ok(read)
        };
        assert_eq!(read(bytes), Ok((Some(2), &b"abc"[..], 256, None)));
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Err(Unread::Incomplete), "{end}");
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_server() {
        assert_eq!(Answer::new(b"-OOM no\r\n").array(), Err(Unread::Refused("OOM no".to_owned())));
        assert_eq!(Answer::new(b":1\r\n").array(), Err(Unread::Unexpected));
    }
}
