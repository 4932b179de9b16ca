//! The entries in a reply to a read, as spans of its bytes.

use bytes::Bytes;

use super::Figures;
use crate::entry_id::EntryId;
use crate::message::{Entry, Span};
use crate::redis::reply;
use crate::redis::resp::{self, FrameError, Head};

/// Entries that were delivered to us.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The bytes that the spans refer to.
    pub(crate) bytes: Bytes,
    pub(crate) spans: Vec<Span>,
    pub(crate) list: Vec<Entry>,
    /// Entries that were delivered before and have been deleted since.
    pub(crate) deleted: Vec<EntryId>,
}

impl Entries {
    /// One entry, from its encoded fields.
    pub(crate) fn of_one(id: EntryId, encoded: Vec<u8>, fields: u32, payload_field: Option<&[u8]>) -> Self {
        let payload = match crate::record::fields(&encoded, fields as usize).next() {
            Some((name, value)) if fields == 1 && payload_field.is_none_or(|field| field == name) => {
                Some(Bytes::copy_from_slice(value))
            }
            _ => None,
        };
        let (bytes, fields) = payload.map_or((encoded.into(), fields), |payload| (payload, 0));
        let spans = vec![Span { start: 0, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }];
        Self { bytes, spans, list: vec![Entry { id, fields }], deleted: Vec::new() }
    }
}

/// The parsed reply, or the text of an error reply, and its length in bytes.
pub(super) type Answer = (Result<Parsed, String>, usize);

/// The form of a reply.
pub(super) enum Form<'a> {
    /// The reply to an `XREADGROUP`.
    Plain,
    /// The reply to a transaction: the stream's figures, those of its groups, and an `XREADGROUP`.
    Sampled { group: &'a [u8] },
}

/// The contents of a reply. Spans are relative to it.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub(super) figures: Figures,
    pub(super) spans: Vec<Span>,
    pub(super) list: Vec<Entry>,
    pub(super) deleted: Vec<EntryId>,
}

impl Parsed {
    /// Parses the reply at the front of `input`. Returns it with its length in bytes, or `None` until it is complete.
    /// An error reply is an `Err` inside.
    pub(super) fn of(
        input: &[u8],
        form: &Form<'_>,
        payload_field: Option<&[u8]>,
    ) -> Result<Option<Answer>, FrameError> {
        let mut at = 0;
        let mut parsed = Self::default();
        if let Form::Sampled { group } = form {
            let (len, used) = match resp::head(input, 0)? {
                None => return Ok(None),
                Some((Head::Array(Some(len)), used)) => (len, used),
                // An error: the transaction was not executed.
                Some(_) => {
                    let Some((reply, used)) = reply::parse(input)? else { return Ok(None) };
                    let answer = reply.error().unwrap_or_else(|| format!("EXECABORT {reply:?}"));
                    return Ok(Some((Err(answer), used)));
                }
            };
            at += used;
            let mut refusal = None;
            for part in 0..len.saturating_sub(1) {
                let Some((reply, used)) = reply::parse(&input[at..])? else { return Ok(None) };
                at += used;
                refusal = refusal.or_else(|| reply.error());
                match part {
                    0 => parsed.figures.of_stream(&reply),
                    _ => parsed.figures.of_group(&reply, group),
                }
            }
            let Some(last) = parsed.entries(input, &mut at, payload_field)? else { return Ok(None) };
            let answer = refusal.map_or(last, Err);
            return Ok(Some((answer.map(|()| parsed), at)));
        }
        let Some(answer) = parsed.entries(input, &mut at, payload_field)? else { return Ok(None) };
        Ok(Some((answer.map(|()| parsed), at)))
    }

    /// Reads the reply to an `XREADGROUP` of one stream.
    fn entries(
        &mut self,
        input: &[u8],
        at: &mut usize,
        payload_field: Option<&[u8]>,
    ) -> Result<Option<Result<(), String>>, FrameError> {
        let mut cursor = Cursor { input, at: *at };
        if let Some(b'-') = input.get(*at) {
            let Some((reply, used)) = reply::parse(&input[*at..])? else { return Ok(None) };
            *at += used;
            return Ok(Some(Err(reply.error().unwrap_or_default())));
        }
        let Some(streams) = cursor.array()? else { return Ok(None) };
        for _ in 0..streams.unwrap_or(0) {
            // The stream's name, then its entries.
            let Some(_) = cursor.array()? else { return Ok(None) };
            let Some(_) = cursor.bulk()? else { return Ok(None) };
            let Some(entries) = cursor.array()? else { return Ok(None) };
            let entries = entries.unwrap_or(0);
            self.spans.reserve(entries.min(4096));
            self.list.reserve(entries.min(4096));
            for _ in 0..entries {
                if !self.entry(&mut cursor, payload_field)? {
                    return Ok(None);
                }
            }
        }
        *at = cursor.at;
        Ok(Some(Ok(())))
    }

    /// Reads one entry. False if it is incomplete.
    fn entry(&mut self, cursor: &mut Cursor<'_>, payload_field: Option<&[u8]>) -> Result<bool, FrameError> {
        let Some(_) = cursor.array()? else { return Ok(false) };
        let Some(id) = cursor.bulk()? else { return Ok(false) };
        let id = EntryId::parse(id).ok_or_else(|| unexpected(id))?;
        let Some(texts) = cursor.array()? else { return Ok(false) };
        let Some(texts) = texts else {
            self.deleted.push(id);
            return Ok(true);
        };
        let start = cursor.at;
        let mut only = None;
        for text in 0..texts {
            let Some(text_at) = cursor.bulk()? else { return Ok(false) };
            match text {
                0 => only = Some(text_at),
                // A spilled entry has one field, of any name.
                1 if texts == 2 && payload_field.is_none_or(|name| only == Some(name)) => {
                    let end = cursor.at - 2;
                    self.spans.push(span(end - text_at.len(), end));
                    self.list.push(Entry { id, fields: 0 });
                    return Ok(true);
                }
                _ => {}
            }
        }
        self.spans.push(span(start, cursor.at));
        self.list.push(Entry { id, fields: u32::try_from(texts / 2).unwrap_or(u32::MAX) });
        Ok(true)
    }
}

fn span(start: usize, end: usize) -> Span {
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span { start: narrow(start), len: narrow(end - start) }
}

/// Steps through the values of a reply.
struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// The length of the array that begins here; `None` inside for nil.
    fn array(&mut self) -> Result<Option<Option<usize>>, FrameError> {
        let input = &self.input[self.at..];
        let Some((head, used)) = resp::head(input, 0)? else { return Ok(None) };
        self.at += used;
        match head {
            Head::Array(len) => Ok(Some(len)),
            Head::Bulk(None) => Ok(Some(None)),
            _ => Err(unexpected(input)),
        }
    }

    /// A bulk string, if it is complete.
    fn bulk(&mut self) -> Result<Option<&'a [u8]>, FrameError> {
        let input = &self.input[self.at..];
        // Nearly all are short.
        if let [b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', rest @ ..] = input {
            let len = usize::from(tens - b'0') * 10 + usize::from(ones - b'0');
            let Some((text, end)) = rest.split_at_checked(len) else { return Ok(None) };
            let [b'\r', b'\n', ..] = end else { return Ok(resp::bulk_end(end)?.map(|()| text)) };
            self.at += len + 7;
            return Ok(Some(text));
        }
        let len = match resp::head(input, 0)? {
            None => return Ok(None),
            Some((Head::Bulk(Some(len)), used)) => {
                self.at += used;
                len
            }
            Some(_) => return Err(unexpected(input)),
        };
        let Some((text, end)) = self.input[self.at..].split_at_checked(len) else { return Ok(None) };
        if resp::bulk_end(end)?.is_none() {
            return Ok(None);
        }
        self.at += len + 2;
        Ok(Some(text))
    }
}

fn unexpected(found: &[u8]) -> FrameError {
    let shown = &found[..found.len().min(48)];
    FrameError::Malformed { expected: "entries of a stream", found: shown.escape_ascii().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::push_bulk;
    use crate::redis::resp::array;

    fn bulks(texts: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        texts.iter().for_each(|text| push_bulk(&mut out, text.as_bytes()));
        out
    }

    fn reply() -> Vec<u8> {
        let mut reply = b"*1\r\n*2\r\n$1\r\ns\r\n*4\r\n".to_vec();
        for (id, fields) in
            [("1-0", &["a", "1", "b", ""][..]), ("1-1", &["payload", "{}"]), ("2-0", &["x", "{}"])]
        {
            reply.extend(b"*2\r\n");
            reply.extend(bulks(&[id]));
            array(&mut reply, fields.len());
            reply.extend(bulks(fields));
        }
        reply.extend(b"*2\r\n$3\r\n3-0\r\n*-1\r\n");
        reply
    }

    fn parse(input: &[u8], name: Option<&[u8]>) -> Option<(Parsed, usize)> {
        Parsed::of(input, &Form::Plain, name).unwrap().map(|(parsed, used)| (parsed.unwrap(), used))
    }

    fn text(input: &[u8], span: Span) -> &[u8] {
        &input[span.start as usize..][..span.len as usize]
    }

    #[test]
    fn entries_keep_their_fields_as_they_stand_and_a_lone_payload_is_taken_out() {
        let input = reply();
        let (parsed, used) = parse(&input, Some(b"payload")).unwrap();
        assert_eq!(used, input.len());
        let id = |ms, seq| EntryId { ms, seq };
        let entry = |id, fields| Entry { id, fields };
        assert_eq!(parsed.list, [entry(id(1, 0), 2), entry(id(1, 1), 0), entry(id(2, 0), 1)]);
        let texts: Vec<_> = parsed.spans.iter().map(|span| text(&input, *span)).collect();
        assert_eq!(texts, [&bulks(&["a", "1", "b", ""])[..], b"{}", &bulks(&["x", "{}"])]);
        assert_eq!(parsed.deleted, [id(3, 0)]);
    }

    #[test]
    fn the_only_field_of_a_spilled_entry_is_the_payload_whatever_its_name() {
        let input = reply();
        let (parsed, _) = parse(&input, None).unwrap();
        assert_eq!(parsed.list.iter().map(|entry| entry.fields).collect::<Vec<_>>(), [2, 0, 0]);
    }

    #[test]
    fn an_incomplete_reply_is_waited_for_wherever_it_ends() {
        let input = reply();
        assert!((0..input.len()).all(|end| parse(&input[..end], Some(b"payload")).is_none()));
    }

    #[test]
    fn nothing_and_an_error_are_distinguished() {
        let (parsed, used) = parse(b"*-1\r\n", None).unwrap();
        assert!(parsed.list.is_empty() && used == 5);
        let (error, _) = Parsed::of(b"-NOGROUP no\r\n", &Form::Plain, None).unwrap().unwrap();
        assert_eq!(error.unwrap_err(), "NOGROUP no");
        assert!(Parsed::of(b"*1\r\n:1\r\n", &Form::Plain, None).is_err());
    }

    #[test]
    fn figures_are_read_from_the_same_transaction() {
        let mut input = b"*3\r\n*6\r\n$6\r\nlength\r\n:3\r\n$13\r\nentries-added\r\n:10\r\n$11\r\nfirst-entry\r\n*2\r\n$3\r\n8-0\r\n*0\r\n".to_vec();
        input.extend(b"*1\r\n*6\r\n$4\r\nname\r\n$1\r\ng\r\n$12\r\nentries-read\r\n:5\r\n$17\r\nlast-delivered-id\r\n$3\r\n5-0\r\n");
        input.extend(reply());
        let form = Form::Sampled { group: b"g" };
        let (parsed, used) = Parsed::of(&input, &form, None).unwrap().unwrap();
        let Parsed { figures, list, .. } = parsed.unwrap();
        assert_eq!((used, list.len()), (input.len(), 3));
        assert_eq!(figures.trimmed_unread(), 2);
        assert!((0..input.len()).all(|end| Parsed::of(&input[..end], &form, None).unwrap().is_none()));
    }
}
