//! One rejected message, as text and as JSON.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use redis::{FromRedisValue, ParsingError, Value};
use redis_consumer_group::client::RejectedEntry;
use redis_consumer_group::{EntryId, EntryIdError};
use serde::Serialize;

use crate::printable::printable;

/// An entry of the stream.
pub(super) struct Entry {
    pub(super) id: EntryId,
    fields: Fields,
}

/// Names and values, in order.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

impl FromRedisValue for Entry {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (id, fields): (String, Fields) = FromRedisValue::from_redis_value(value)?;
        Ok(Self {
            id: id.parse().map_err(|error: EntryIdError| ParsingError::from(error.to_string()))?,
            fields,
        })
    }
}

/// The number of characters of a message that are shown.
const SHOWN: usize = 120;

impl Entry {
    /// The fields as slices.
    fn pairs(&self) -> Vec<(&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect()
    }

    /// Why it was rejected. The reason is unknown if no group wrote the entry.
    pub(super) fn reason(&self) -> String {
        let pairs = self.pairs();
        RejectedEntry::of(&pairs)
            .map_or_else(|| "(not written by a group)".to_owned(), |rejected| text(rejected.error))
    }

    /// Three lines: when and why; from where and by whom; the message, shortened.
    pub(super) fn lines(&self, key: Option<&str>) -> String {
        let pairs = self.pairs();
        let rejected = RejectedEntry::of(&pairs);
        let mut lines = String::new();
        if let Some(key) = key {
            let _ = write!(lines, "{key}  ");
        }
        let _ = writeln!(lines, "{}  {}  {}", self.id, self.time(), printable(&self.reason()));
        if let Some(rejected) = &rejected {
            let _ = write!(lines, "    from {}", printable(&text(rejected.source)));
            if let Some(id) = rejected.source_id {
                let _ = write!(lines, " {id}");
            }
            let _ = write!(lines, ", consumer {}", printable(&text(rejected.consumer_id)));
            match rejected.attempts {
                Some(1) => lines += ", 1 attempt",
                Some(attempts) => drop(write!(lines, ", {attempts} attempts")),
                None => {}
            }
            lines.push('\n');
        }
        let own = &pairs[..rejected.as_ref().map_or(pairs.len(), |rejected| rejected.fields)];
        let _ = writeln!(lines, "    {}", shortened(&message(own)));
        lines
    }

    /// One line of JSON.
    pub(super) fn json(&self, key: &str) -> String {
        let pairs = self.pairs();
        let rejected = RejectedEntry::of(&pairs);
        let own = &pairs[..rejected.as_ref().map_or(pairs.len(), |rejected| rejected.fields)];
        let (payload, fields) = match own {
            [(b"payload", payload)] => (Some(Bytes::of(payload)), None),
            own => {
                (None, Some(own.iter().map(|(name, value)| (Bytes::of(name), Bytes::of(value))).collect()))
            }
        };
        let line = Line {
            stream: key,
            id: self.id.to_string(),
            time: self.time(),
            error: rejected.as_ref().map(|rejected| text(rejected.error)),
            consumer_id: rejected.as_ref().map(|rejected| text(rejected.consumer_id)),
            source: rejected.as_ref().map(|rejected| text(rejected.source)),
            source_id: rejected.as_ref().and_then(|rejected| Some(rejected.source_id?.to_string())),
            attempts: rejected.as_ref().and_then(|rejected| rejected.attempts),
            payload_bytes: rejected.as_ref().and_then(|rejected| rejected.payload_bytes),
            payload,
            fields,
        };
        serde_json::to_string(&line).unwrap_or_else(|_| unreachable!("texts and numbers only"))
    }

    fn time(&self) -> String {
        time(self.id)
    }
}

/// When an entry was appended, by the server's clock. This is the time in its id, unless a client chose the id.
pub(super) fn time(id: EntryId) -> String {
    // The last millisecond of the year 9999: RFC 3339 has four digits for the year.
    const LAST: u64 = 253_402_300_799_999;
    if id.ms > LAST {
        return "(no time)".to_owned();
    }
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(id.ms)).to_string()
}

/// The payload, or the fields as `name=value`.
fn message(own: &[(&[u8], &[u8])]) -> String {
    match own {
        [(b"payload", payload)] => text(payload),
        own => {
            let fields: Vec<_> =
                own.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect();
            fields.join(" ")
        }
    }
}

fn shortened(message: &str) -> String {
    let mut chars = message.chars();
    let shown: String = chars.by_ref().take(SHOWN).collect();
    let left = chars.as_str().len();
    let more = if left > 0 { format!(" … ({left} bytes more)") } else { String::new() };
    printable(&shown) + &more
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `payload` if the message has only that field, else `fields`. `time` is UTC.
#[derive(Serialize)]
struct Line<'a> {
    stream: &'a str,
    id: String,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u32>,
    /// The full length of a payload of which only the first bytes were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Bytes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<(Bytes<'a>, Bytes<'a>)>>,
}

/// A text, or `{"hex": …}` if the bytes are not UTF-8.
#[derive(Serialize)]
#[serde(untagged)]
enum Bytes<'a> {
    Text(&'a str),
    Binary { hex: String },
}

impl<'a> Bytes<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Binary { hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &[u8])]) -> Entry {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        Entry { id: EntryId { ms: 1_700_000_000_123, seq: 4 }, fields }
    }

    #[test]
    fn an_entry_is_told_in_three_lines_that_a_terminal_can_take() {
        let long = [&b"\x1b[2J\xff"[..], &[b'x'; 200]].concat();
        let entry = entry(&[
            ("payload", &long),
            ("error", b"the payload is not \x1b UTF-8"),
            ("consumer_id", b"c-1"),
            ("source", b"messages:published"),
            ("attempts", b"5"),
        ]);
        let expected = format!(
            "1700000000123-4  2023-11-14T22:13:20.123Z  the payload is not \\u{{1b}} UTF-8\n    \
             from messages:published, consumer c-1, 5 attempts\n    \
             \\u{{1b}}[2J\u{fffd}{} … (85 bytes more)\n",
            "x".repeat(115)
        );
        assert_eq!(entry.lines(None), expected);
    }

    #[test]
    fn json_keeps_every_byte() {
        let binary =
            entry(&[("payload", b"\x00\xff"), ("error", b"e"), ("consumer_id", b"c"), ("source", b"s")]);
        assert_eq!(
            binary.json("r"),
            r#"{"stream":"r","id":"1700000000123-4","time":"2023-11-14T22:13:20.123Z","error":"e","consumer_id":"c","source":"s","payload":{"hex":"00ff"}}"#
        );
        let foreign = entry(&[("a", b"1"), ("a", b"2")]);
        assert_eq!(
            foreign.json("r"),
            r#"{"stream":"r","id":"1700000000123-4","time":"2023-11-14T22:13:20.123Z","fields":[["a","1"],["a","2"]]}"#
        );
    }

    #[test]
    fn an_id_that_is_no_time_is_shown_without_one() {
        assert_eq!(time(EntryId { ms: u64::MAX, seq: 0 }), "(no time)");
    }
}
