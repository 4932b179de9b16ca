//! Walks through any one frame and drops it as it arrives. Keeps only what shows its kind.

use bytes::{Buf, Bytes, BytesMut};

use super::{Event, OVERSIZE_HEAD};
use crate::redis::resp::{self, FrameError, Head, MAX_LINE};

/// `punsubscribe` is the longest kind that Redis sends.
const KIND: usize = 16;
/// The kind, the channel, and the payload or count.
const PARTS: usize = 3;

/// The position in an incomplete frame. Each byte is looked at once, wherever the reads were cut. Only an incomplete
/// line stays in the buffer.
pub(super) struct Walk {
    /// The elements still to come of each open array, outermost first.
    open: Vec<usize>,
    /// For the current bulk string: how many bytes are missing, and how many of those to keep.
    bulk: Option<(usize, usize)>,
    /// How many bytes of an incomplete line are known to hold no line end.
    searched: usize,
    /// The number of elements, if the frame is an array.
    len: Option<usize>,
    /// The value, or the first elements if the frame is an array.
    parts: Vec<Part>,
    /// Whether the frame is known to be a message of our channel.
    oversize: bool,
}

/// A value, as far as it helps to recognize a frame.
enum Part {
    Status(Bytes),
    Error(String),
    Int(i64),
    Nil,
    Bulk { len: usize, head: BytesMut },
    Array,
}

impl Walk {
    pub(super) fn new() -> Self {
        Self { open: Vec::new(), bulk: None, searched: 0, len: None, parts: Vec::new(), oversize: false }
    }

    /// For a message of our channel whose payload is too long to be held.
    pub(super) fn of_oversize() -> Self {
        Self { oversize: true, ..Self::new() }
    }

    /// Takes the available bytes of the frame off `input`. Returns the event at the frame's last byte.
    pub(super) fn advance(&mut self, input: &mut BytesMut) -> Result<Option<Event>, FrameError> {
        loop {
            let ended = match self.bulk {
                Some((left, kept)) => self.content(input, left, kept)?,
                None => self.line(input)?,
            };
            match ended {
                Some(true) => return Ok(Some(self.event())),
                Some(false) => {}
                None => return Ok(None),
            }
        }
    }

    /// Whether the frame ended with the line at the front of `input`. `None` until the line is complete.
    fn line(&mut self, input: &mut BytesMut) -> Result<Option<bool>, FrameError> {
        let Some((head, used)) = resp::head(input, self.searched)? else {
            self.searched = input.len().saturating_sub(1);
            return Ok(None);
        };
        let part = match head {
            Head::Status(text) => Part::Status(Bytes::copy_from_slice(text)),
            Head::Error(text) => Part::Error(resp::error(text)),
            Head::Int(n) => Part::Int(n),
            Head::Bulk(None) | Head::Array(None) => Part::Nil,
            Head::Bulk(Some(len)) => {
                self.bulk = Some((len, if self.is_telling() { self.room() } else { 0 }));
                Part::Bulk { len, head: BytesMut::new() }
            }
            Head::Array(Some(_)) => Part::Array,
        };
        let whole = self.bulk.is_none();
        self.searched = 0;
        let opened = match head {
            Head::Array(Some(len)) => {
                resp::check_depth(self.open.len())?;
                Some(len)
            }
            _ => None,
        };
        input.advance(used);
        if opened.is_some() && self.open.is_empty() {
            self.len = opened;
        } else if self.is_telling() {
            self.parts.push(part);
        }
        Ok(Some(match opened {
            Some(len) if len > 0 => {
                self.open.push(len);
                false
            }
            _ => whole && self.element_ended(),
        }))
    }

    /// Whether the frame ended with the current bulk string. `None` until that is complete.
    fn content(
        &mut self,
        input: &mut BytesMut,
        left: usize,
        kept: usize,
    ) -> Result<Option<bool>, FrameError> {
        let here = left.min(input.len());
        if let (Some(Part::Bulk { head, .. }), 1..) = (self.parts.last_mut(), kept) {
            head.extend_from_slice(&input[..here.min(kept)]);
        }
        input.advance(here);
        self.bulk = Some((left - here, kept - here.min(kept)));
        if here < left || resp::bulk_end(input)?.is_none() {
            return Ok(None);
        }
        input.advance(2);
        self.bulk = None;
        Ok(Some(self.element_ended()))
    }

    /// Whether the value that begins now helps to recognize the frame.
    fn is_telling(&self) -> bool {
        self.open.len() <= 1 && self.parts.len() < PARTS
    }

    /// How many bytes are kept of a bulk string that becomes the next part.
    fn room(&self) -> usize {
        match self.parts.len() {
            0 => KIND,
            1 => MAX_LINE,
            _ if self.oversize => OVERSIZE_HEAD,
            _ => 0,
        }
    }

    /// Closes the arrays that end with this element. Returns whether the frame ended.
    fn element_ended(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }

    fn event(&mut self) -> Event {
        match (self.len, self.parts.as_mut_slice()) {
            (None, [Part::Status(text)]) if **text == *b"PONG" || **text == *b"OK" => Event::Pong,
            // In RESP3, the token alone.
            (None, [Part::Bulk { .. }]) => Event::Pong,
            (None, [Part::Error(text)]) => Event::Error(std::mem::take(text)),
            (Some(2), [kind, _]) if kind.is(b"pong") => Event::Pong,
            (Some(3), [_, _, Part::Bulk { len, head }]) if self.oversize => {
                Event::Oversize { len: *len as u64, head: head.split().freeze() }
            }
            (Some(3), [kind, Part::Bulk { len, head: channel }, Part::Int(count)])
                if *len == channel.len() =>
            {
                let channel = channel.split().freeze();
                if kind.is(b"subscribe") || kind.is(b"ssubscribe") {
                    Event::Subscribed { channel, count: *count }
                } else if kind.is(b"unsubscribe") || kind.is(b"sunsubscribe") {
                    Event::Unsubscribed { channel: Some(channel), count: *count }
                } else {
                    Event::Other
                }
            }
            (Some(3), [kind, Part::Nil, Part::Int(count)])
                if kind.is(b"unsubscribe") || kind.is(b"sunsubscribe") =>
            {
                Event::Unsubscribed { channel: None, count: *count }
            }
            _ => Event::Other,
        }
    }
}

impl Part {
    fn is(&self, kind: &[u8]) -> bool {
        matches!(self, Part::Bulk { len, head } if *len == kind.len() && head == kind)
    }
}
