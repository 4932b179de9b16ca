//! Reading new entries of the group: on a connection of its own, whole batches at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::entries::{Entries, Form, Parsed};
use super::{Figures, Names};
use crate::entry_id::EntryId;
use crate::epoch::Epoch;
use crate::error::Error;
use crate::message::Origin;
use crate::record::push_bulk;
use crate::redis::cluster::Node;
use crate::redis::connection::{Connection, answers_no_more};
use crate::redis::fault::{Fault, Kind};
use crate::redis::reply::Reply;
use crate::redis::resp::{array, command};
use crate::redis::server::Server;
use crate::slot::beside;

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
    /// Whether the last connection ended with something asked and not answered.
    broken: bool,
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

/// Why nothing was read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The group is gone, or the stream with it.
    NoGroup(String),
    /// The connection broke: what the server may have handed out by then is to be asked for again.
    Broken(String),
    Permanent(Error),
}

/// Longer than the server may keep an empty-handed reader waiting, and short enough for a stop.
const BLOCK: Duration = Duration::from_millis(250);
/// Below this a batch is copied rather than keep the whole memory that was read into.
const SMALL: usize = 8 << 10;

impl Reader {
    pub(crate) fn new(server: Arc<Server>, names: Names, origin: Origin) -> Self {
        let name = format!("redis-consumer-group:reader:{}", Uuid::new_v4().simple());
        Self { server, names, origin, name, connection: None, former: None, broken: false, out: Vec::new() }
    }

    /// Whether the connection is there. When it is not, something may have been handed out and not have reached us.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The node that it is connected to, where there are several.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.connection.as_ref()?.node()
    }

    pub(crate) async fn connect(&mut self) -> Result<Former, Fault> {
        let mut connection = Connection::open(&self.server, &self.name).await?;
        let closed = match self.former {
            Some(former) => close(&mut connection, former, &self.name).await?,
            None => true,
        };
        let former = if self.broken && !closed { Former::MayBeHeard } else { Former::Gone };
        (self.former, self.broken) = (Some(connection.id()), false);
        self.connection = Some(connection);
        Ok(former)
    }

    /// Reads what is there and was handed to nobody, `count` entries at most, with the figures of that moment.
    pub(crate) async fn read(&mut self, epoch: &Epoch, count: usize) -> Result<(Figures, Entries), Unread> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let (input, group) = (self.names.input.as_bytes(), self.names.group.clone());
        command(&mut out, &[b"MULTI"]);
        command(&mut out, &[b"XINFO", b"STREAM", input]);
        command(&mut out, &[b"XINFO", b"GROUPS", input]);
        self.xreadgroup(&mut out, epoch, count, None, ">");
        command(&mut out, &[b"EXEC"]);
        let answer = self.ask(&out, Form::Sampled { group: group.as_bytes() }).await;
        self.out = out;
        answer
    }

    /// Waits for new entries, for a moment.
    pub(crate) async fn wait(&mut self, epoch: &Epoch, count: usize) -> Result<Entries, Unread> {
        let mut out = Vec::new();
        self.xreadgroup(&mut out, epoch, count, Some(BLOCK), ">");
        Ok(self.ask(&out, Form::Plain).await?.1)
    }

    /// Reads again what was handed to us after this entry and was not acknowledged.
    pub(crate) async fn history(
        &mut self,
        epoch: &Epoch,
        after: EntryId,
        count: usize,
    ) -> Result<Entries, Unread> {
        let mut out = Vec::new();
        self.xreadgroup(&mut out, epoch, count, None, &after.to_string());
        Ok(self.ask(&out, Form::Plain).await?.1)
    }

    fn xreadgroup(
        &self,
        out: &mut Vec<u8>,
        epoch: &Epoch,
        count: usize,
        block: Option<Duration>,
        from: &str,
    ) {
        array(out, if block.is_some() { 11 } else { 9 });
        for word in ["XREADGROUP", "GROUP", &self.names.group, &epoch.consumer, "COUNT", &count.to_string()] {
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
        let (server, node) = (self.server.clone(), self.node().cloned());
        let answer = tokio::select! {
            biased;
            () = answers_no_more(&server, node.as_ref()) => Err(Unread::Broken(server.why_left().to_owned())),
            answer = self.exchange(out, form) => answer,
        };
        self.broken |= matches!(answer, Err(Unread::Broken(_)));
        answer
    }

    async fn exchange(&mut self, out: &[u8], form: Form<'_>) -> Result<(Figures, Entries), Unread> {
        // Taken out while it is used: who is interrupted in between has no connection any more.
        let Some(mut connection) = self.connection.take() else {
            return Err(Unread::Broken("it was not open".to_owned()));
        };
        let broken = |fault| match fault {
            Fault::Transient(cause) => Unread::Broken(cause),
            Fault::Permanent(error) => Unread::Permanent(error),
        };
        connection.log_in_again(&self.server).await.map_err(broken)?;
        connection.send(out).await.map_err(|error| Unread::Broken(error.to_string()))?;
        if matches!(form, Form::Sampled { .. }) {
            // MULTI and what was queued. The EXEC says no more than that something was refused.
            for _ in 0..4 {
                if let Some(answer) = connection.receive(|reply| reply.error()).await.map_err(broken)? {
                    return Err(self.refused(&answer));
                }
            }
        }
        let payload_field = self.origin.payload_field();
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
            return Unread::Permanent(Error::WrongType {
                key: input.clone(),
                found: format!("key of another type ({answer})"),
                needed: "stream",
                option: self.names.option,
            });
        }
        let needs = format!("+multi +exec +xinfo +xreadgroup ~{input} ~{}", beside(input, "*"));
        match self.server.fault(&format!("XREADGROUP {input}"), &needs, answer) {
            Fault::Transient(cause) => Unread::Broken(cause),
            Fault::Permanent(error) => Unread::Permanent(error),
        }
    }
}

/// Has the server close a former connection of this name, if it still has it; false if it will not.
async fn close(connection: &mut Connection, former: u64, name: &str) -> Result<bool, Fault> {
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
