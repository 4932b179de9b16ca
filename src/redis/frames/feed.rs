//! Feeds a scanner with bytes in pieces, for the tests and the fuzzer. The cuts between pieces must not matter.

use bytes::{Bytes, BytesMut};

use super::{Event, FrameError, MAX_RUN_BYTES, MAX_RUN_MESSAGES, Scanner};
use crate::redis::channel::ChannelKind;
use crate::redis::resp::MAX_LINE;

/// The result of a scanner, independent of how it joined messages into runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    Message(Bytes),
    Event(Event),
    /// What was expected, or was too large. What was found is left out: it depends on how much had arrived.
    Malformed(&'static str),
}

/// All results for `pieces`, read one after another. Also checks that the scanner holds no more than the longest
/// allowed message or line.
pub(crate) fn feed<'a>(
    channel: &[u8],
    max_payload: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<Scanned> {
    let mut scanner = Scanner::new(ChannelKind::Plain, channel, max_payload);
    let longest = (channel.len() + max_payload + 64).max(MAX_LINE + 2);
    let mut input = BytesMut::new();
    let mut scanned = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match scanner.next(&mut input) {
                Ok(Some(event)) => {
                    assert!(input.len() < before, "an event took no bytes: {event:?}");
                    push(event, &mut scanned);
                }
                Ok(None) => break,
                Err(FrameError::Malformed { expected: what, .. } | FrameError::TooLarge { what, .. }) => {
                    scanned.push(Scanned::Malformed(what));
                    return scanned;
                }
            }
        }
        assert!(
            input.len() + scanner.wanted() <= longest,
            "{} + {} bytes held",
            input.len(),
            scanner.wanted()
        );
    }
    scanned
}

/// Cuts `bytes` into pieces of `lengths`, which repeat as often as needed. A length of 0 counts as 1.
pub(crate) fn pieces<'a>(mut bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let len = lengths.next().map_or(usize::MAX, |&len| usize::from(len).max(1)).min(bytes.len());
        let (piece, rest) = bytes.split_at(len);
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

fn push(event: Event, scanned: &mut Vec<Scanned>) {
    let Event::Messages { bytes, spans } = event else { return scanned.push(Scanned::Event(event)) };
    assert!(!spans.is_empty() && spans.len() <= MAX_RUN_MESSAGES);
    assert!(spans.len() == 1 || bytes.len() <= MAX_RUN_BYTES);
    for span in spans {
        let start = span.start as usize;
        scanned.push(Scanned::Message(bytes.slice(start..start + span.len as usize)));
    }
}
