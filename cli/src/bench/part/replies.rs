//! The replies to a load: counted, and looked at for what is wrong.

/// Reads the replies of PUBLISH and XADD, wherever a read cuts them.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    count: u64,
    unheard: u64,
    error: Option<String>,
    /// Whether the next line is what a bulk string holds. That of an entry's id has no line break.
    in_bulk: bool,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
}

impl Replies {
    /// How many replies there were, errors among them.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// How many messages reached no subscriber.
    pub(crate) fn unheard(&self) -> u64 {
        self.unheard
    }

    /// The first error among them.
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
            b":0\r\n" => self.unheard += 1,
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
    fn replies_are_counted_wherever_a_read_cuts_them() {
        let bytes = b":1\r\n:0\r\n$15\r\n1700000000000-0\r\n:10\r\n-OOM no memory\r\n-ERR later\r\n$3\r\n:0a\r\n:2\r\n";
        for size in 1..bytes.len() {
            let mut replies = Replies::default();
            bytes.chunks(size).for_each(|chunk| replies.read(chunk));
            assert_eq!((replies.count(), replies.unheard()), (8, 1), "{size}");
            assert_eq!(replies.error(), Some("OOM no memory"), "{size}");
        }
    }
}
