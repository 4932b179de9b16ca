//! Reads new entries of the group in whole batches, on its own connection.

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

/// The reading connection, and what is needed to replace it.
pub(crate) struct Reader {
    server: Arc<Server>,
    names: Names,
    origin: Origin,
    /// The name that `CLIENT LIST` shows, unique to this reader.
    name: String,
    connection: Option<Connection>,
    /// The id of the last connection.
    former: Option<u64>,
    /// Whether the last connection ended before a request on it was answered.
    broken: bool,
    out: Vec<u8>,
}

/// The state of the previous connection.
///
/// A request on a connection that was given up may arrive late, and is executed then:
///
/// 1. A read is sent and lost on its way. No answer comes, and we give the connection up.
/// 2. On a new connection we ask what was delivered to us: nothing that we did not have.
/// 3. The kernel sends the read again, and the server delivers entries that nobody waits for.
///
/// These would be pending as long as this process lives. So the server is asked to close the old connection before we
/// ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Former {
    /// The server executes no more requests from it.
    Gone,
    /// It may execute more, because we are not permitted to close it.
    MayBeHeard,
}

/// Why nothing was read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The group or the stream is gone.
    NoGroup(String),
    /// The connection broke. What the server may have delivered by then must be asked for again.
    Broken(String),
    Permanent(Error),
}

/// How long a read that finds nothing waits at the server. Short enough for a stop.
const BLOCK: Duration = Duration::from_millis(250);
/// A smaller batch is copied, so that it does not keep the whole memory that was read into.
const SMALL: usize = 8 << 10;

impl Reader {
    pub(crate) fn new(server: Arc<Server>, names: Names, origin: Origin) -> Self {
        let name = format!("redis-consumer-group:reader:{}", Uuid::new_v4().simple());
        Self { server, names, origin, name, connection: None, former: None, broken: false, out: Vec::new() }
    }

    /// Whether the connection is open. If not, entries may have been delivered that did not reach us.
    pub(crate) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The node at the other end, if there are several.
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

    /// Reads entries that were not delivered yet, at most `count`, and the figures at that moment.
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

    /// Waits for new entries, at most for `BLOCK`.
    pub(crate) async fn wait(&mut self, epoch: &Epoch, count: usize) -> Result<Entries, Unread> {
        let mut out = Vec::new();
        self.xreadgroup(&mut out, epoch, count, Some(BLOCK), ">");
        Ok(self.ask(&out, Form::Plain).await?.1)
    }

    /// Reads again what was delivered to us after this entry and is not acknowledged.
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
        // Taken out while in use: if the future is dropped in between, the connection is closed.
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
            // The replies to MULTI and the queued commands. EXEC would only say that something was refused.
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
            // The stream was deleted during the wait.
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
                found: format!("value of another type ({answer})"),
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

/// Makes the server close the former connection of this name, if it still has it. False if it refuses.
async fn close(connection: &mut Connection, former: u64, name: &str) -> Result<bool, Fault> {
    let mut out = Vec::new();
    let former = former.to_string();
    command(&mut out, &[b"CLIENT", b"LIST", b"ID", former.as_bytes()]);
    connection.send(&out).await?;
    // A restarted server counts ids from the beginning, so the id may belong to another connection now.
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
