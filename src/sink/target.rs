//! The stream that lanes append to: how an append is encoded, and what a refusal means.

use std::sync::Arc;
use std::time::Duration;

use super::Records;
use super::records::{Entry, Form, Size};
use crate::buffer::Buffer;
use crate::error::Error;
use crate::ledger::Counts;
use crate::record::push_bulk;
use crate::redis::connection::Connection;
use crate::redis::fault::{Fault, Kind};
use crate::redis::resp::{array, command};
use crate::redis::server::Server;
use crate::slot::{self, beside};
use crate::status::Status;
use crate::text;

/// An output stream on a server.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) server: Arc<Server>,
    /// The stream's key.
    pub(crate) stream: String,
    /// The option that names it.
    pub(crate) option: &'static str,
    /// Trims the stream to about this many entries.
    pub(crate) maxlen: Option<u64>,
    /// How large the commits are.
    pub(crate) size: Size,
    /// How long, and in how much memory, confirmed commits are kept.
    pub(crate) keep: Keep,
    /// Counts messages that are repeated or lost after their commit was confirmed.
    pub(crate) counts: Arc<Counts>,
    /// Shows that nothing can be appended.
    pub(crate) status: Status,
    /// The stream in which messages with receipts are acknowledged.
    pub(crate) acknowledges: Option<Acknowledges>,
}

/// How long confirmed commits are kept, in case they have to be repeated: see [`Config::keep`](crate::Config::keep).
#[derive(Debug, Clone)]
pub(crate) struct Keep {
    pub(crate) time: Duration,
    /// The memory for them, shared by all lanes of the process.
    pub(crate) memory: Arc<Buffer>,
}

/// A stream whose entries are acknowledged by the commit that appends their records.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledges {
    /// The stream's key.
    pub(crate) stream: String,
    pub(crate) group: String,
    /// The option that names the stream.
    pub(crate) option: &'static str,
    /// Whether its entries are also deleted.
    pub(crate) deletes: bool,
}

/// Acknowledges and deletes in one step, unless nothing could be appended.
const MOVE: &str = include_str!("move.lua");

/// The result of an attempt at a commit.
pub(super) enum Attempted {
    Committed,
    /// The server has executed nothing of what is still wanted; with the cause.
    NotCommitted(String),
    /// The server has executed nothing and never will: the epoch of the messages is over.
    Fenced,
}

impl Acknowledges {
    /// The fault that a refused acknowledgement means; `None` if it is not specific to acknowledgements.
    pub(super) fn refused(&self, answer: &str) -> Option<Fault> {
        (Kind::of(answer) == Kind::WrongType).then(|| {
            Fault::Permanent(Error::WrongType {
                key: self.stream.clone(),
                found: format!("value of another type ({answer})"),
                needed: "stream",
                option: self.option,
            })
        })
    }
}

impl Target {
    /// An output that keeps no commits, acknowledges nothing, and counts and reports for itself.
    #[cfg(any(test, feature = "internals"))]
    pub(crate) fn output(server: Arc<Server>, stream: String) -> Self {
        Self {
            server,
            stream,
            option: "output",
            maxlen: None,
            size: Size::default(),
            keep: Keep { time: Duration::ZERO, memory: Buffer::new(0) },
            counts: Arc::default(),
            status: Status::alone(),
            acknowledges: None,
        }
    }

    /// Opens a connection of a lane.
    pub(super) async fn connect(&self) -> Result<Connection, Fault> {
        Self::connect_to(&self.server).await
    }

    /// Opens a connection of a lane to this server.
    pub(super) async fn connect_to(server: &Server) -> Result<Connection, Fault> {
        Connection::open(server, "redis-consumer-group:lane").await
    }

    /// The server of the acknowledged stream, if it may be another node than the output's.
    pub(super) fn input_elsewhere(&self) -> Option<Arc<Server>> {
        let input = &self.acknowledges.as_ref()?.stream;
        let may_be = self.server.cluster().is_some() && slot::of(input) != slot::of(&self.stream);
        may_be.then(|| self.server.of(input))
    }

    /// The form of the records to this stream.
    pub(crate) fn form(&self) -> Form {
        Form::xadd(&self.stream).sized(self.size)
    }

    /// Encodes the commands that append the records.
    pub(super) fn append(&self, out: &mut Vec<u8>, records: &Records) {
        match (self.maxlen, records.iter().last()) {
            (Some(maxlen), Some(last)) => {
                // One trim per commit is enough, and is cheapest for the server.
                out.extend_from_slice(&records.commands()[..records.bytes() - last.command.len()]);
                self.append_and_trim(out, &last, maxlen);
            }
            _ => out.extend_from_slice(records.commands()),
        }
    }

    /// Encodes the commands that append the `wanted` records.
    pub(super) fn append_some(&self, out: &mut Vec<u8>, records: &Records, wanted: &[bool]) {
        let mut entries =
            records.iter().zip(wanted).filter(|(_, wanted)| **wanted).map(|(entry, _)| entry).peekable();
        while let Some(entry) = entries.next() {
            match self.maxlen.filter(|_| entries.peek().is_none()) {
                Some(maxlen) => self.append_and_trim(out, &entry, maxlen),
                None => out.extend_from_slice(entry.command),
            }
        }
    }

    fn append_and_trim(&self, out: &mut Vec<u8>, entry: &Entry<'_>, maxlen: u64) {
        array(out, 6 + 2 * entry.fields);
        push_bulk(out, b"XADD");
        push_bulk(out, self.stream.as_bytes());
        push_bulk(out, b"MAXLEN");
        push_bulk(out, b"~");
        push_bulk(out, itoa::Buffer::new().format(maxlen).as_bytes());
        push_bulk(out, b"*");
        out.extend_from_slice(entry.encoded);
    }

    /// Encodes the command that acknowledges the messages of the records.
    pub(super) fn acknowledge(&self, out: &mut Vec<u8>, records: &Records) {
        let Some(input) = self.acknowledged_at(records) else { return };
        if input.deletes {
            array(out, 6 + records.acknowledged());
            for word in ["EVAL", MOVE, "2", &input.stream, &self.stream, &input.group] {
                push_bulk(out, word.as_bytes());
            }
            out.extend_from_slice(records.acks());
            return;
        }
        array(out, 3 + records.acknowledged());
        push_bulk(out, b"XACK");
        push_bulk(out, input.stream.as_bytes());
        push_bulk(out, input.group.as_bytes());
        out.extend_from_slice(records.acks());
    }

    /// Encodes the command that makes the acknowledged messages of the records pending
    /// again. `false` if there are none.
    pub(super) fn take_back(&self, out: &mut Vec<u8>, records: &Records) -> bool {
        // Entries that are deleted with the acknowledgement are still pending: `move.lua` did nothing.
        let acknowledged_at = self.acknowledged_at(records).filter(|input| !input.deletes);
        let (Some(input), Some(epoch)) = (acknowledged_at, records.held()) else { return false };
        array(out, 7 + records.acknowledged());
        for word in ["XCLAIM", &input.stream, &input.group, &epoch.consumer, "0"] {
            push_bulk(out, word.as_bytes());
        }
        out.extend_from_slice(records.acks());
        push_bulk(out, b"FORCE");
        push_bulk(out, b"JUSTID");
        true
    }

    /// The number of commands that acknowledge the records' messages: 0 or 1.
    pub(super) fn acknowledging(&self, records: &Records) -> usize {
        usize::from(self.acknowledged_at(records).is_some())
    }

    fn acknowledged_at(&self, records: &Records) -> Option<&Acknowledges> {
        self.acknowledges.as_ref().filter(|_| records.acknowledged() > 0)
    }

    /// Warns that entries of ours were no longer pending: another client acknowledged them, or deleted their group.
    pub(super) fn log_not_pending(&self, entries: u64) {
        let stream = self.input();
        tracing::warn!(
            event = "not_pending",
            stream,
            count = entries,
            "{} of {stream} were no longer pending when they were committed to {}: another client acknowledged them, or deleted \
             the stream, its group or this process's consumer in it; they may be processed twice",
            text::entries(entries),
            self.stream
        );
    }

    /// Counts messages whose records were appended again.
    pub(super) fn repeated(&self, messages: u64) {
        // Messages in the spill are not processed yet.
        if !self.is_spill() {
            self.counts.repeat(messages);
        }
    }

    /// Counts messages whose records are lost.
    pub(super) fn lost(&self, messages: u64) {
        match self.is_spill() {
            true => self.counts.lose_spilled(messages),
            false => self.counts.lose(messages),
        }
    }

    /// Warns that the server lacked confirmed commits.
    pub(super) fn log_failover(&self, repeated: u64, lost: u64) {
        let rest = match (lost, &self.acknowledges) {
            (0, _) => String::new(),
            (lost, Some(input)) => format!(
                "; records of {lost} are gone, and those of their entries that {} still has are processed again",
                input.stream
            ),
            (lost, None) => format!("; {lost} are lost: they were no longer kept (keep, buffer)"),
        };
        tracing::warn!(
            event = "failover",
            stream = self.stream,
            count = repeated,
            "the node that now serves {} lacks confirmed commits: appended {} again{rest}",
            self.stream,
            text::messages(repeated)
        );
    }

    /// Warns that a server was restarted and lacks this many confirmed commits. `all`: the number of messages in all
    /// commits, if it lacks all of them.
    pub(super) fn log_data_lost(&self, commits: u64, all: Option<u64>) {
        let lost = match all {
            Some(all) => format!(
                "without its data: the records of {} that it had confirmed in {} are lost",
                text::messages(all),
                self.stream
            ),
            None => format!(
                "with older data: the records of the last {} to {} that it had confirmed are lost",
                if commits == 1 { "commit".to_owned() } else { format!("{commits} commits") },
                self.stream
            ),
        };
        let again = self.acknowledges.as_ref().map_or_else(String::new, |input| {
            format!("; those of their entries that {} still has are processed again", input.stream)
        });
        tracing::warn!(
            event = "data_lost",
            stream = self.stream,
            count = all,
            commits,
            "the server was restarted {lost}{again}"
        );
    }

    /// Warns that the hash of a lane is gone.
    pub(super) fn log_lane_lost(&self, key: &str, is_in_flight: bool) {
        let twice = match is_in_flight {
            true => "the records of one commit may be there twice",
            false => "no record is there twice",
        };
        tracing::warn!(
            event = "lane_lost",
            stream = self.stream,
            key,
            "the hash {key} of a lane to {} is gone: if it was deleted or evicted, {twice}; if Redis lost its data, records \
             that it had confirmed are lost",
            self.stream
        );
    }

    fn is_spill(&self) -> bool {
        self.option == "spill-key"
    }

    /// Encodes an `XADD` that is only checked, and not executed.
    pub(super) fn append_to_check(&self, out: &mut Vec<u8>) {
        command(out, &[b"XADD", self.stream.as_bytes(), b"*", b"field", b"value"]);
    }

    /// Encodes acknowledging commands that are only checked, and returns their names.
    pub(super) fn acknowledge_to_check(&self, out: &mut Vec<u8>) -> Vec<&'static str> {
        let Some(input) = &self.acknowledges else { return Vec::new() };
        command(out, &[b"XACK", input.stream.as_bytes(), input.group.as_bytes(), b"0-1"]);
        if !input.deletes {
            return vec!["XACK"];
        }
        command(out, &[b"XDEL", input.stream.as_bytes(), b"0-1"]);
        command(out, &[b"TYPE", self.stream.as_bytes()]);
        vec!["XACK", "XDEL", "TYPE"]
    }

    /// The key of the acknowledged stream; empty if there is none.
    pub(super) fn input(&self) -> &str {
        self.acknowledges.as_ref().map_or("", |input| &input.stream)
    }

    /// Reads the answer to a command that is only checked.
    pub(super) async fn expect_checked(
        &self,
        connection: &mut Connection,
        name: &str,
        key: &str,
    ) -> Result<(), Fault> {
        match connection.receive(|reply| reply.error()).await? {
            None => Ok(()),
            Some(answer) => {
                let keys =
                    if key == self.stream || key == self.input() { key.to_owned() } else { self.lanes() };
                let needs = format!("+{} ~{keys}", name.to_lowercase());
                Err(self.server.fault(&format!("{name} {key}"), &needs, &answer))
            }
        }
    }

    /// The keys of all lanes of this stream, as an ACL rule names them.
    pub(super) fn lanes(&self) -> String {
        beside(&self.stream, "*")
    }

    /// The fault that an error reply to a commit means. `needs`: the ACL rule for the command.
    pub(super) fn refused(&self, needs: &str, answer: &str) -> Fault {
        match Kind::of(answer) {
            Kind::WrongType => Fault::Permanent(Error::WrongType {
                key: self.stream.clone(),
                found: format!("value of another type ({answer})"),
                needed: "stream",
                option: self.option,
            }),
            Kind::Unknown => Fault::Permanent(self.protocol_error(answer)),
            Kind::Refusal | Kind::Login | Kind::Missing | Kind::Transient | Kind::Cluster => {
                self.server.fault(&format!("a commit to {}", self.stream), needs, answer)
            }
        }
    }

    /// The error for an answer after which the commit cannot be repeated.
    pub(super) fn protocol_error(&self, answer: &str) -> Error {
        Error::Protocol {
            address: self.server.address().to_string(),
            what: "a commit",
            answer: answer.to_owned(),
        }
    }
}
