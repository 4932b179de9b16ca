//! Reading new entries of the group: on a connection of its own, whole batches at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::entries::{Entries, Form, Parsed};
use super::{Figures, Names};
use crate::entry_id::EntryId;
use crate::error::Error;
use crate::message::Origin;
use crate::record::push_bulk;
use crate::redis::connection::Connection;
use crate::redis::resp::{array, command};
use crate::redis::server::Server;
use crate::redis::setback::{Kind, Setback};
use crate::redis::slot::beside;
use crate::tenure::Tenure;

/// The reading connection.
pub(crate) struct Reader {
    server: Arc<Server>,
    names: Names,
    origin: Origin,
    connection: Option<Connection>,
    out: Vec<u8>,
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
        Self { server, names, origin, connection: None, out: Vec::new() }
    }

    /// Whether the connection is there. When it is not, something may have been handed out and not have reached us.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub(crate) async fn connect(&mut self) -> Result<(), Setback> {
        self.connection = Some(Connection::open(&self.server, "redis-consumer-group:reader").await?);
        Ok(())
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

fn is_no_key(answer: &str) -> bool {
    answer.starts_with("ERR no such key")
}
