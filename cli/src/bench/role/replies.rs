//! Counts the replies to a load, and looks for errors.

/// Parses the replies of PUBLISH and XADD, which a read may split anywhere.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    count: u64,
    undelivered: u64,
    error: Option<String>,
    /// Whether the next line is the content of a bulk string: an entry's id, which has no line break.
    in_bulk: bool,
    /// The beginning of an incomplete line.
    partial: Vec<u8>,
}

impl Replies {
    /// The number of replies, including errors.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The number of messages that reached no subscriber.
    pub(crate) fn undelivered(&self) -> u64 {
        self.undelivered
    }

    /// The first error.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(crate) fn read(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = bytes.split_at(end + 1);
            if self.partial.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole);
                whole.clear();
                self.partial = whole;
            }
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
    }

    fn line(&mut self, line: &[u8]) {
        if !self.in_bulk && line[0] == b'$' {
            self.in_bulk = true;
            return;
        }
        match line {
            _ if self.in_bulk => {}
            b":0\r\n" => self.undelivered += 1,
            [b'-', text @ ..] if self.error.is_none() => {
                self.error = Some(String::from_utf8_lossy(text).trim_end().to_owned());
            }
            _ => {}
        }
        self.in_bulk = false;
        self.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_counted_wherever_a_read_splits_them() {
        let bytes = b":1\r\n:0\r\n$15\r\n1700000000000-0\r\n:10\r\n-OOM no memory\r\n-ERR later\r\n$3\r\n:0a\r\n:2\r\n";
        for size in 1..bytes.len() {
            let mut replies = Replies::default();
            bytes.chunks(size).for_each(|chunk| replies.read(chunk));
            assert_eq!((replies.count(), replies.undelivered()), (8, 1), "{size}");
            assert_eq!(replies.error(), Some("OOM no memory"), "{size}");
        }
    }
}
