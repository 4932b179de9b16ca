//! Reading new entries of the group: on a connection of its own, whole batches at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::Names;
use crate::entry_id::EntryId;
use crate::error::Error;
use crate::message::{Entry, Origin, Span};
use crate::record::push_bulk;
use crate::redis::connection::Connection;
use crate::redis::reply::{self, Reply};
use crate::redis::resp::{self, FrameError, Head, array, command};
use crate::redis::server::{PATIENCE, Server};
use crate::redis::setback::{Kind, Setback};
use crate::redis::slot::beside;
use crate::tenure::Tenure;

/// The reading connection.
pub(crate) struct Reader {
    server: Arc<Server>,
    names: Names,
    origin: Origin,
    /// What `CLIENT LIST` shows. Nobody else has it.
    name: String,
    connection: Option<Connection>,
    /// The id of the last connection.
    former: Option<u64>,
    /// Whether the last connection was given up because there was no answer.
    silent: bool,
    out: Vec<u8>,
}

/// What is known of the connection before this one.
///
/// What was sent on a connection and given up may be on its way for long, and is done when it arrives:
///
/// 1. a read is sent, and lost on its way; nothing answers, and the connection is given up;
/// 2. on another one we ask what was handed to us: nothing that we did not have;
/// 3. the kernel sends the read again, and the server hands entries to us that nobody waits for.
///
/// They would be pending for as long as we live. So the server is told to close the connection before we ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Former {
    /// The server does nothing more of what was sent on it.
    Gone,
    /// It may: we are not permitted to have it closed.
    MayBeHeard,
}

/// Entries that were handed to us.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// What the spans refer to.
    pub(crate) bytes: Bytes,
    pub(crate) spans: Vec<Span>,
    pub(crate) list: Vec<Entry>,
    /// Entries that were handed out before and have been deleted since.
    pub(crate) deleted: Vec<EntryId>,
}

/// What the server says of the stream and the group, just before it hands out entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Entries that were ever added.
    pub(crate) added: u64,
    /// Entries that are there.
    pub(crate) length: u64,
    /// The oldest entry that is there.
    pub(crate) first: Option<EntryId>,
    /// Entries up to the last one that was handed out, those included that were trimmed. `None`: nobody knows.
    pub(crate) read: Option<u64>,
    /// The last entry that was handed out.
    pub(crate) last_delivered: EntryId,
}

/// Why nothing was read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The group is gone, or the stream with it.
    NoGroup(String),
    /// The connection broke: what the server may have handed out by then is to be asked for again.
    Broken(String),
    Final(Error),
}

/// Longer than the server may keep an empty-handed reader waiting, and short enough for a stop.
const BLOCK: Duration = Duration::from_millis(250);
/// Below this a batch is copied rather than keep the whole memory that was read into.
const SMALL: usize = 8 << 10;

impl Reader {
    pub(crate) fn new(server: Arc<Server>, names: Names, origin: Origin) -> Self {
        let name = format!("redis-consumer-group:reader:{}", Uuid::new_v4().simple());
        Self { server, names, origin, name, connection: None, former: None, silent: false, out: Vec::new() }
    }

    /// Whether the connection is there. When it is not, something may have been handed out and not have reached us.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub(crate) async fn connect(&mut self) -> Result<Former, Setback> {
        let mut connection = Connection::open(&self.server, &self.name).await?;
        let closed = match self.former {
            Some(former) => close(&mut connection, former, &self.name).await?,
            None => true,
        };
        let former = if self.silent && !closed { Former::MayBeHeard } else { Former::Gone };
        (self.former, self.silent) = (Some(connection.id()), false);
        self.connection = Some(connection);
        Ok(former)
    }

    /// Reads what is there and was handed to nobody, `count` entries at most, with the figures of that moment.
    pub(crate) async fn read(&mut self, tenure: &Tenure, count: usize) -> Result<(Figures, Entries), Unread> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (input, group) = (self.names.input.as_bytes(), self.names.group.clone());
        command(&mut out, &[b"MULTI"]);
        command(&mut out, &[b"XINFO", b"STREAM", input]);
        command(&mut out, &[b"XINFO", b"GROUPS", input]);
        self.xreadgroup(&mut out, tenure, count, None, ">");
        command(&mut out, &[b"EXEC"]);
        let answer = self.ask(&out, Form::Sampled { group: group.as_bytes() }).await;
        self.out = out;
        answer
    }

    /// Waits for new entries, for a moment.
    pub(crate) async fn wait(&mut self, tenure: &Tenure, count: usize) -> Result<Entries, Unread> {
        let mut out = Vec::new();
        self.xreadgroup(&mut out, tenure, count, Some(BLOCK), ">");
        Ok(self.ask(&out, Form::Plain).await?.1)
    }

    /// Reads again what was handed to us after this entry and was not acknowledged.
    pub(crate) async fn history(
        &mut self,
        tenure: &Tenure,
        after: EntryId,
        count: usize,
    ) -> Result<Entries, Unread> {
        let mut out = Vec::new();
        self.xreadgroup(&mut out, tenure, count, None, &after.to_string());
        Ok(self.ask(&out, Form::Plain).await?.1)
    }

    fn xreadgroup(
        &self,
        out: &mut Vec<u8>,
        tenure: &Tenure,
        count: usize,
        block: Option<Duration>,
        from: &str,
    ) {
        array(out, if block.is_some() { 11 } else { 9 });
        for word in ["XREADGROUP", "GROUP", &self.names.group, &tenure.consumer, "COUNT", &count.to_string()]
        {
            push_bulk(out, word.as_bytes());
        }
        if let Some(block) = block {
            push_bulk(out, b"BLOCK");
            push_bulk(out, block.as_millis().to_string().as_bytes());
        }
        for word in ["STREAMS", &self.names.input, from] {
            push_bulk(out, word.as_bytes());
        }
    }

    async fn ask(&mut self, out: &[u8], form: Form<'_>) -> Result<(Figures, Entries), Unread> {
        let asked = Instant::now();
        let answer = self.exchange(out, form).await;
        self.silent |= matches!(answer, Err(Unread::Broken(_))) && asked.elapsed() >= PATIENCE;
        answer
    }

    async fn exchange(&mut self, out: &[u8], form: Form<'_>) -> Result<(Figures, Entries), Unread> {
        // Taken out while it is used: who is interrupted in between has no connection any more.
        let Some(mut connection) = self.connection.take() else {
            return Err(Unread::Broken("it was not open".to_owned()));
        };
        let broken = |setback| match setback {
            Setback::Passing(cause) => Unread::Broken(cause),
            Setback::Final(error) => Unread::Final(error),
        };
        connection.send(out).await.map_err(|error| Unread::Broken(error.to_string()))?;
        if matches!(form, Form::Sampled { .. }) {
            // MULTI and what was queued. A refusal shows in the EXEC as well.
            for _ in 0..4 {
                if let Some(answer) = connection.receive(|reply| reply.error()).await.map_err(broken)?
                    && Kind::of(&answer) == Kind::Refusal
                {
                    return Err(self.refused(&answer));
                }
            }
        }
        let payload_field = match &self.origin {
            Origin::Input(name) => Some(name.as_bytes()),
            Origin::Spill => None,
        };
        let (parsed, bytes) = connection
            .receive_whole(|input| Parsed::of(input, &form, payload_field))
            .await
            .map_err(broken)?;
        match parsed {
            Ok(Parsed { figures, spans, list, deleted }) => {
                self.connection = Some(connection);
                let bytes = if bytes.len() < SMALL { Bytes::copy_from_slice(&bytes) } else { bytes };
                Ok((figures, Entries { bytes, spans, list, deleted }))
            }
            Err(answer) if answer.starts_with("NOGROUP") || is_no_key(&answer) => {
                self.connection = Some(connection);
                Err(Unread::NoGroup(answer))
            }
            // The stream was deleted while we waited.
            Err(answer) if answer.starts_with("UNBLOCKED") => {
                self.connection = Some(connection);
                Ok(Default::default())
            }
            Err(answer) => Err(self.refused(&answer)),
        }
    }

    fn refused(&self, answer: &str) -> Unread {
        let input = &self.names.input;
        if Kind::of(answer) == Kind::WrongType {
            return Unread::Final(Error::WrongType {
                key: input.clone(),
                found: format!("key of another type ({answer})"),
                needed: "stream",
                option: if matches!(self.origin, Origin::Spill) { "spill-key" } else { "input" },
            });
        }
        let needs = format!("+multi +exec +xinfo +xreadgroup ~{input} ~{}", beside(input, "*"));
        match self.server.setback(&format!("XREADGROUP {input}"), &needs, answer) {
            Setback::Passing(cause) => Unread::Broken(cause),
            Setback::Final(error) => Unread::Final(error),
        }
    }
}

/// Has the server close a former connection of this name, if it still has it; false if it will not.
async fn close(connection: &mut Connection, former: u64, name: &str) -> Result<bool, Setback> {
    let mut out = Vec::new();
    let former = former.to_string();
    command(&mut out, &[b"CLIENT", b"LIST", b"ID", former.as_bytes()]);
    connection.send(&out).await?;
    // A server that was started again counts from the beginning: another's connection may have this id now.
    let name = format!(" name={} ", name);
    let ours = connection
        .receive(|reply| match reply {
            Reply::Bulk(Some(list)) => Ok(String::from_utf8_lossy(list).contains(&name)),
            other => Err(other.error()),
        })
        .await?;
    match ours {
        Ok(true) => {}
        Ok(false) => return Ok(true),
        Err(_) => return Ok(false),
    }
    out.clear();
    command(&mut out, &[b"CLIENT", b"KILL", b"ID", former.as_bytes()]);
    connection.send(&out).await?;
    Ok(connection.receive(|reply| reply.error()).await?.is_none())
}

fn is_no_key(answer: &str) -> bool {
    answer.starts_with("ERR no such key")
}

/// What a reply consists of.
enum Form<'a> {
    /// Of an `XREADGROUP`.
    Plain,
    /// Of a transaction: the stream's figures, those of its groups, and an `XREADGROUP`.
    Sampled { group: &'a [u8] },
}

/// What was found in a reply; spans are relative to it.
#[derive(Debug, Default)]
struct Parsed {
    figures: Figures,
    spans: Vec<Span>,
    list: Vec<Entry>,
    deleted: Vec<EntryId>,
}

impl Parsed {
    /// Reads the reply at the front of `input`, and how many bytes it takes; `None` until it is complete. The text of
    /// an error reply is an `Err` inside.
    fn of(
        input: &[u8],
        form: &Form<'_>,
        payload_field: Option<&[u8]>,
    ) -> Result<Option<(Result<Self, String>, usize)>, FrameError> {
        let mut at = 0;
        let mut parsed = Self::default();
        if let Form::Sampled { group } = form {
            let (len, used) = match resp::head(input, 0)? {
                None => return Ok(None),
                Some((Head::Array(Some(len)), used)) => (len, used),
                // Nothing of it was done.
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
        let streams = match cursor.head()? {
            None => return Ok(None),
            Some(Head::Array(streams)) => streams.unwrap_or(0),
            Some(Head::Bulk(None)) => 0,
            Some(Head::Error(answer)) => {
                *at = cursor.at;
                return Ok(Some(Err(String::from_utf8_lossy(answer).into_owned())));
            }
            Some(_) => return Err(unexpected(input)),
        };
        for _ in 0..streams {
            let Some(Head::Array(Some(2))) = cursor.head()? else { return cursor.cut() };
            let Some(_) = cursor.bulk()? else { return cursor.cut() };
            let Some(Head::Array(Some(entries))) = cursor.head()? else { return cursor.cut() };
            self.spans.reserve(entries.min(4096));
            self.list.reserve(entries.min(4096));
            for _ in 0..entries {
                if !self.entry(&mut cursor, payload_field)? {
                    return cursor.cut();
                }
            }
        }
        *at = cursor.at;
        Ok(Some(Ok(())))
    }

    /// Reads one entry; false when it is not there as a whole.
    fn entry(&mut self, cursor: &mut Cursor<'_>, payload_field: Option<&[u8]>) -> Result<bool, FrameError> {
        let Some(Head::Array(Some(2))) = cursor.head()? else { return Ok(false) };
        let Some(id) = cursor.bulk()? else { return Ok(false) };
        let id = EntryId::parse(id).ok_or_else(|| unexpected(id))?;
        let texts = match cursor.head()? {
            Some(Head::Array(Some(texts))) => texts,
            Some(Head::Array(None) | Head::Bulk(None)) => {
                self.deleted.push(id);
                return Ok(true);
            }
            Some(_) => return Err(unexpected(cursor.input)),
            None => return Ok(false),
        };
        let start = cursor.at;
        let mut only = None;
        for text in 0..texts {
            let Some(text_at) = cursor.bulk()? else { return Ok(false) };
            match text {
                0 => only = Some(text_at),
                // What was spilled has one field, whatever it is called.
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

/// Goes through the values of a reply.
struct Cursor<'a> {
    input: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn head(&mut self) -> Result<Option<Head<'a>>, FrameError> {
        let Some((head, used)) = resp::head(&self.input[self.at..], 0)? else { return Ok(None) };
        self.at += used;
        Ok(Some(head))
    }

    /// A text that is there as a whole.
    fn bulk(&mut self) -> Result<Option<&'a [u8]>, FrameError> {
        let input = &self.input[self.at..];
        // Nearly all of them are short.
        if let [b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', rest @ ..] = input {
            let len = usize::from(tens - b'0') * 10 + usize::from(ones - b'0');
            let Some((text, end)) = rest.split_at_checked(len) else { return Ok(None) };
            let [b'\r', b'\n', ..] = end else { return Ok(resp::bulk_end(end)?.map(|()| text)) };
            self.at += len + 7;
            return Ok(Some(text));
        }
        let len = match self.head()? {
            None => return Ok(None),
            Some(Head::Bulk(Some(len))) => len,
            Some(_) => return Err(unexpected(input)),
        };
        let Some((text, end)) = self.input[self.at..].split_at_checked(len) else { return Ok(None) };
        if resp::bulk_end(end)?.is_none() {
            return Ok(None);
        }
        self.at += len + 2;
        Ok(Some(text))
    }

    /// Something was not as expected: it is incomplete, or no such reply.
    fn cut<T>(&mut self) -> Result<Option<T>, FrameError> {
        if self.at < self.input.len() && reply::parse(self.input)?.is_some() {
            return Err(unexpected(self.input));
        }
        Ok(None)
    }
}

fn unexpected(found: &[u8]) -> FrameError {
    let shown = &found[..found.len().min(48)];
    FrameError::Malformed { expected: "entries of a stream", found: shown.escape_ascii().to_string() }
}

impl Figures {
    fn of_stream(&mut self, reply: &Reply<'_>) {
        let number = |name| value(reply, name).and_then(int);
        self.added = number("entries-added").unwrap_or(0);
        self.length = number("length").unwrap_or(0);
        self.first = match value(reply, "first-entry") {
            Some(Reply::Array(Some(entry))) => entry.first().and_then(id),
            _ => None,
        };
    }

    fn of_group(&mut self, reply: &Reply<'_>, group: &[u8]) {
        let Reply::Array(Some(groups)) = reply else { return };
        let ours = groups
            .iter()
            .find(|of| matches!(value(of, "name"), Some(Reply::Bulk(Some(name))) if *name == group));
        let Some(ours) = ours else { return };
        self.read = value(ours, "entries-read").and_then(int);
        self.last_delivered = value(ours, "last-delivered-id").and_then(id).unwrap_or_default();
    }

    /// Entries that were trimmed before anyone of the group had read them, if the next read jumps over them.
    pub(crate) fn trimmed_unread(&self) -> u64 {
        match self.read {
            Some(read) if self.jumps() => self.removed().saturating_sub(read),
            _ => 0,
        }
    }

    /// Entries that are not there any more.
    pub(crate) fn removed(&self) -> u64 {
        self.added.saturating_sub(self.length)
    }

    /// Whether there may have been something between what was handed out and what is there.
    fn jumps(&self) -> bool {
        self.first.is_none_or(|first| first > self.last_delivered)
    }

    /// Whether something may have been trimmed unread since `earlier`, and there is no telling how much.
    pub(crate) fn may_have_trimmed_unread_since(&self, earlier: &Self) -> bool {
        self.read.is_none() && self.removed() > earlier.removed() && self.jumps()
    }
}

fn value<'a, 'b>(reply: &'b Reply<'a>, name: &str) -> Option<&'b Reply<'a>> {
    let Reply::Array(Some(pairs)) = reply else { return None };
    let mut pairs = pairs.chunks_exact(2);
    pairs.find(|pair| pair[0] == Reply::Bulk(Some(name.as_bytes()))).map(|pair| &pair[1])
}

fn int(reply: &Reply<'_>) -> Option<u64> {
    match reply {
        Reply::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn id(reply: &Reply<'_>) -> Option<EntryId> {
    match reply {
        Reply::Bulk(Some(id)) => EntryId::parse(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn of_the_spill_the_one_field_is_the_payload_whatever_its_name() {
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
    fn nothing_and_an_error_are_told_apart() {
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

    #[test]
    fn without_the_count_of_what_was_read_it_is_only_known_that_something_may_be_missing() {
        let id = |ms| EntryId { ms, seq: 0 };
        let earlier =
            Figures { added: 10, length: 10, first: Some(id(1)), read: None, last_delivered: id(3) };
        let trimmed = Figures { length: 4, first: Some(id(7)), ..earlier };
        assert!(trimmed.may_have_trimmed_unread_since(&earlier) && trimmed.trimmed_unread() == 0);
        let only_old_ones = Figures { length: 8, first: Some(id(3)), ..earlier };
        assert!(!only_old_ones.may_have_trimmed_unread_since(&earlier));
        assert!(!trimmed.may_have_trimmed_unread_since(&trimmed));
    }
}
