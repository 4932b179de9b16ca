//! The stream that lanes append to: how an append goes over the wire, and what a refusal of one means.

use std::sync::Arc;

use super::Records;
use crate::error::Error;
use crate::record::push_bulk;
use crate::redis::connection::Connection;
use crate::redis::resp::{array, command};
use crate::redis::server::Server;
use crate::redis::setback::{Kind, Setback};
use crate::redis::slot::beside;

/// A stream of a server.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) server: Arc<Server>,
    /// The stream's key.
    pub(crate) stream: String,
    /// The option that names it.
    pub(crate) option: &'static str,
    /// Trims the stream to about this many entries.
    pub(crate) maxlen: Option<u64>,
}

/// What became of an attempt at a commit.
pub(super) enum Made {
    Yes,
    /// The server has executed nothing of what is still wanted.
    No(String),
}

impl Target {
    /// A connection of a lane.
    pub(super) async fn connect(&self) -> Result<Connection, Setback> {
        Connection::open(&self.server, "redis-consumer-group:lane").await
    }

    /// Writes an `XADD` for each of the records that is `wanted`.
    pub(super) fn append(&self, out: &mut Vec<u8>, records: &Records, wanted: impl Fn(usize) -> bool) {
        let last = (0..records.len()).rfind(|at| wanted(*at));
        for (at, (encoded, fields)) in records.iter().enumerate().filter(|(at, _)| wanted(*at)) {
            // One trimming a commit is enough, and costs the server least.
            let maxlen = self.maxlen.filter(|_| Some(at) == last);
            array(out, 3 + 2 * fields + if maxlen.is_some() { 3 } else { 0 });
            out.extend_from_slice(b"$4\r\nXADD\r\n");
            push_bulk(out, self.stream.as_bytes());
            if let Some(maxlen) = maxlen {
                out.extend_from_slice(b"$6\r\nMAXLEN\r\n$1\r\n~\r\n");
                push_bulk(out, itoa::Buffer::new().format(maxlen).as_bytes());
            }
            out.extend_from_slice(b"$1\r\n*\r\n");
            out.extend_from_slice(encoded);
        }
    }

    /// Writes an `XADD` that is only there to be looked at.
    pub(super) fn append_for_show(&self, out: &mut Vec<u8>) {
        command(out, &[b"XADD", self.stream.as_bytes(), b"*", b"field", b"value"]);
    }

    /// Waits for the answer to a command that is only there to be looked at.
    pub(super) async fn looked_at(
        &self,
        connection: &mut Connection,
        name: &str,
        key: &str,
    ) -> Result<(), Setback> {
        match connection.receive(|reply| reply.error()).await? {
            None => Ok(()),
            Some(answer) => {
                let keys = if key == self.stream { self.stream.clone() } else { self.lanes() };
                let needs = format!("+{} ~{keys}", name.to_lowercase());
                Err(self.server.setback(&format!("{name} {key}"), &needs, &answer))
            }
        }
    }

    /// The keys of all lanes of this stream, as an ACL rule names them.
    pub(super) fn lanes(&self) -> String {
        beside(&self.stream, "*")
    }

    /// What an error reply to a command of a commit means. `needs` is what an ACL rule must have for it.
    pub(super) fn refused(&self, needs: &str, answer: &str) -> Setback {
        match Kind::of(answer) {
            Kind::WrongType => Setback::Final(Error::WrongType {
                key: self.stream.clone(),
                found: format!("key of another type ({answer})"),
                needed: "stream",
                option: self.option,
            }),
            Kind::Unknown => Setback::Final(self.nonsense(answer)),
            Kind::Refusal | Kind::Weather | Kind::Cluster => {
                self.server.setback(&format!("a commit to {}", self.stream), needs, answer)
            }
        }
    }

    /// An answer after which the commit cannot be repeated.
    pub(super) fn nonsense(&self, answer: &str) -> Error {
        Error::Protocol {
            address: self.server.address().to_string(),
            what: "a commit",
            answer: answer.to_owned(),
        }
    }
}
