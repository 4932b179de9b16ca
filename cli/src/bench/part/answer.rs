//! Reads the answers of a server from where they stand: for a floor, nothing may be built of them.

use std::fmt;

/// A position in what was read so far.
pub(super) struct Answer<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Why there is nothing to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Its end has not come yet.
    Incomplete,
    /// The server refused, in its words.
    Refused(String),
    /// Something else was expected here.
    Unexpected,
}

impl<'a> Answer<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far it was read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// The head of an array: how many elements follow. `None`: there is no array.
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

    /// A simple string, which must be this one.
    pub(super) fn simple(&mut self, text: &str) -> Result<(), Unread> {
        if self.line(b'+')? == text.as_bytes() { Ok(()) } else { Err(Unread::Unexpected) }
    }

    /// What was read since a position, as it stands there.
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
            Self::Incomplete => "half an answer",
            Self::Refused(answer) => answer,
            Self::Unexpected => "an answer to something else",
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
