//! Scans the input of a subscriber, in RESP2 or as pushes of RESP3. This is the hottest code of the project.
//!
//! Nearly every frame is a message of our one channel, and begins with the same bytes. So a message costs one
//! comparison, a few digits and one entry in a list. Consecutive messages leave as one slice of the buffer that the
//! socket was read into. All other frames take [`Walk`], which drops them as they arrive.

#[cfg(any(test, fuzzing))]
pub(crate) mod feed;
#[cfg(test)]
mod tests;
mod walk;

use bytes::{Bytes, BytesMut};

use self::walk::Walk;
use super::channel::ChannelKind;
use super::resp::{self, FrameError};
use crate::message::Span;
use crate::record::push_bulk;

/// How many bytes of a message that is too long are kept, to recognize it.
pub(crate) const OVERSIZE_HEAD: usize = 4096;
/// The limit of a run, about the size of one read: a run keeps its memory until its last message is done. A longer
/// message is a run of its own.
const MAX_RUN_BYTES: usize = 256 * 1024;
/// Limits the list of a run of tiny messages to 32 KiB.
const MAX_RUN_MESSAGES: usize = 4096;
/// The number of digits of [`resp::MAX_BULK`].
const MAX_LENGTH_DIGITS: usize = 9;

/// An event on the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A run of at least one message of our channel. `bytes` are the frames as they were read, shared with the buffer.
    /// The spans are relative to `bytes`.
    Messages { bytes: Bytes, spans: Vec<Span> },
    /// A message that is too long, after its last byte: its length and first 4 KiB. The rest was dropped as it
    /// arrived.
    Oversize { len: u64, head: Bytes },
    /// The server confirmed `SUBSCRIBE` or `SSUBSCRIBE`.
    Subscribed { channel: Bytes, count: i64 },
    /// The server confirmed `UNSUBSCRIBE` or `SUNSUBSCRIBE`, or ended the subscription itself because it lost the
    /// slot. Without a channel if nothing was subscribed.
    Unsubscribed { channel: Option<Bytes>, count: i64 },
    /// The answer to `PING`, with any token, or to `AUTH`.
    Pong,
    /// An error reply, without its leading `-`. It is an answer too, so the connection is alive.
    Error(String),
    /// Any other complete frame, for example a message of another channel.
    Other,
}

/// Takes frames off the front of the buffer that a subscriber's socket is read into.
pub(crate) struct Scanner {
    /// The beginning of each message of our channel, up to the digits of its length.
    prefix: Box<[u8]>,
    max_payload: usize,
    /// A frame that is dropped as it arrives. Its first bytes have already left the buffer.
    walk: Option<Walk>,
    wanted: usize,
}

impl Scanner {
    /// For a connection that has switched to RESP3: messages come as pushes, replies keep their form, and all commands
    /// are allowed, not only those of subscribers.
    pub(crate) fn of_pushes(self) -> Self {
        let mut prefix = self.prefix;
        prefix[0] = b'>';
        Self { prefix, ..self }
    }

    /// Scans for messages of `channel` with payloads of up to `max_payload` bytes, and never more than
    /// [`resp::MAX_BULK`].
    pub(crate) fn new(kind: ChannelKind, channel: &[u8], max_payload: usize) -> Self {
        let mut prefix = Vec::new();
        resp::array(&mut prefix, 3);
        push_bulk(&mut prefix, kind.message().as_bytes());
        push_bulk(&mut prefix, channel);
        prefix.push(b'$');
        Self { prefix: prefix.into(), max_payload: max_payload.min(resp::MAX_BULK), walk: None, wanted: 0 }
    }

    /// Takes the next event off `input`. `None` if it needs more bytes. Call it until `None` before reading again. A
    /// frame may be cut anywhere between reads.
    ///
    /// # Errors
    ///
    /// If the bytes are not frames. All whole frames before them have been returned by then. Neither the connection
    /// nor the scanner can be used any more.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, FrameError> {
        self.wanted = 0;
        let walk = match &mut self.walk {
            Some(walk) => walk,
            none => {
                let run = Run::scan(input, &self.prefix, self.max_payload);
                if !run.spans.is_empty() {
                    return Ok(Some(Event::Messages {
                        bytes: input.split_to(run.end).freeze(),
                        spans: run.spans,
                    }));
                }
                match run.stop {
                    Stop::Full => return Ok(None),
                    Stop::Incomplete { wanted } => {
                        self.wanted = wanted;
                        return Ok(None);
                    }
                    Stop::Oversize => none.insert(Walk::of_oversize()),
                    Stop::Foreign => none.insert(Walk::new()),
                }
            }
        };
        let event = walk.advance(input)?;
        if event.is_some() {
            self.walk = None;
        }
        Ok(event)
    }

    /// How many bytes the message at the front of the buffer still lacks, if the last call returned `None` and this is
    /// known; else 0. Reserve them at once, so that a long message grows the buffer only once.
    pub(crate) fn wanted(&self) -> usize {
        self.wanted
    }
}

/// The consecutive messages of our channel at the front of the buffer.
struct Run {
    end: usize,
    spans: Vec<Span>,
    stop: Stop,
}

/// Why a run ended.
enum Stop {
    Full,
    /// The rest is empty, or the beginning of a message of our channel. `wanted` bytes are known to be missing.
    Incomplete {
        wanted: usize,
    },
    /// A message of our channel that is too long to be held.
    Oversize,
    /// Another frame, or a malformed one. [`Walk`] finds out which.
    Foreign,
}

impl Run {
    fn scan(input: &[u8], prefix: &[u8], max_payload: usize) -> Self {
        let mut spans = Vec::new();
        let mut end = 0;
        let stop = loop {
            let span = match message(input, end, prefix, max_payload) {
                Ok(span) => span,
                Err(stop) => break stop,
            };
            let next = span.start + span.len + 2;
            if spans.is_empty() {
                // Messages of one channel tend to have the same length.
                let alike = input.len().min(MAX_RUN_BYTES) / next + 1;
                spans.reserve(alike.min(MAX_RUN_MESSAGES));
            } else if next > MAX_RUN_BYTES || spans.len() == MAX_RUN_MESSAGES {
                break Stop::Full;
            }
            spans.push(Span { start: span.start as u32, len: span.len as u32 });
            end = next;
        };
        Self { end, spans, stop }
    }
}

struct Payload {
    start: usize,
    len: usize,
}

/// The payload of the message that begins at `at`.
#[inline]
fn message(input: &[u8], at: usize, prefix: &[u8], max_payload: usize) -> Result<Payload, Stop> {
    let rest = &input[at..];
    let Some((begin, digits)) = rest.split_at_checked(prefix.len()) else {
        return Err(if prefix.starts_with(rest) { Stop::Incomplete { wanted: 0 } } else { Stop::Foreign });
    };
    if begin != prefix {
        return Err(Stop::Foreign);
    }
    let (mut len, mut count) = (0, 0);
    let line_end = loop {
        let Some(&byte) = digits.get(count) else { return Err(Stop::Incomplete { wanted: 0 }) };
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break byte;
        }
        if count == MAX_LENGTH_DIGITS {
            return Err(Stop::Foreign);
        }
        len = len * 10 + usize::from(digit);
        count += 1;
    };
    // Accepts only the spelling that the walk accepts. The walk reports the error of any other.
    if line_end != b'\r' || count == 0 || (count > 1 && digits[0] == b'0') {
        return Err(Stop::Foreign);
    }
    match digits.get(count + 1) {
        Some(b'\n') => {}
        Some(_) => return Err(Stop::Foreign),
        None => return Err(Stop::Incomplete { wanted: 0 }),
    }
    if len > max_payload {
        return Err(Stop::Oversize);
    }
    let start = at + prefix.len() + count + 2;
    match input.get(start + len..start + len + 2) {
        Some(b"\r\n") => Ok(Payload { start, len }),
        Some(_) => Err(Stop::Foreign),
        None => Err(Stop::Incomplete { wanted: start + len + 2 - input.len() }),
    }
}
