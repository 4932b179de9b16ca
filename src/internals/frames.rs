//! The bytes from a subscriber's socket, and the messages in them.

use std::io::Cursor;

use bytes::{Bytes, BytesMut};
use tokio::io::{join, sink};
use uuid::Uuid;

use super::CHANNEL;
use crate::config::Config;
use crate::message::Span;
use crate::record::push_bulk;
use crate::redis::channel::{Channel, ChannelKind};
use crate::redis::frames::{Event, Scanner};
use crate::redis::resp;
use crate::redis::subscription::Subscription;

/// Messages that were read together and share one buffer.
#[derive(Clone)]
pub struct Run {
    pub(super) bytes: Bytes,
    pub(super) spans: Vec<Span>,
}

/// A payload as from `publish`: 53 bytes with a UUID.
#[must_use]
pub fn payload() -> String {
    format!(r#"{{"message_id":"{}"}}"#, Uuid::new_v4())
}

/// The bytes that a server sends for messages with these payloads.
pub fn frames(payloads: impl IntoIterator<Item: AsRef<[u8]>>) -> Bytes {
    let mut out = Vec::new();
    for payload in payloads {
        resp::array(&mut out, 3);
        push_bulk(&mut out, b"message");
        push_bulk(&mut out, CHANNEL.as_bytes());
        push_bulk(&mut out, payload.as_ref());
    }
    out.into()
}

/// Messages with these payloads, joined into runs as the source joins them.
///
/// # Panics
/// When a payload is longer than the default configuration allows.
pub fn runs(payloads: impl IntoIterator<Item: AsRef<[u8]>>) -> Vec<Run> {
    let mut scanner = Scanner::new(ChannelKind::Plain, CHANNEL.as_bytes(), Config::default().max_payload);
    let mut input = BytesMut::from(frames(payloads));
    let mut runs = Vec::new();
    while let Some(event) = scanner.next(&mut input).expect("frames") {
        let Event::Messages { bytes, spans } = event else { panic!("{event:?} among the messages") };
        runs.push(Run { bytes, spans });
    }
    runs
}

/// Reads frames to their end, as the source does from a socket that always has more. Returns the number of messages.
///
/// # Panics
/// When the bytes are not frames.
pub async fn scan(frames: Bytes) -> usize {
    let socket = Box::new(join(Cursor::new(frames), sink()));
    let channel = Channel::new(CHANNEL, ChannelKind::Plain);
    let max_payload = Config::default().max_payload;
    let mut subscription = Subscription::on(socket, BytesMut::new(), &channel, max_payload);
    let mut messages = 0;
    // The messages of one read still wait for consumers during the next read. Otherwise their memory could be reused at
    // once.
    let mut waiting = Vec::new();
    while subscription.read().await.expect("memory") > 0 {
        let mut events = Vec::new();
        while let Some(event) = subscription.next().expect("frames") {
            if let Event::Messages { spans, .. } = &event {
                messages += spans.len();
            }
            events.push(event);
        }
        drop(std::mem::replace(&mut waiting, events));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_message_is_found_whether_read_or_scanned_at_once() {
        let payloads: Vec<_> = (0..10_000).map(|_| payload()).collect();
        assert_eq!(scan(frames(&payloads)).await, 10_000);
        assert_eq!(runs(&payloads).iter().map(|run| run.spans.len()).sum::<usize>(), 10_000);
        assert_eq!(payload().len(), 53);
    }
}
