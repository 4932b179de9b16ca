//! Commits that happen exactly once: a numbered transaction on a watched hash. This page explains the whole folder.
//!
//! # The idea
//!
//! When a connection breaks, the answer to a commit may be lost, and with it whether the commit happened. So each
//! commit has a number. The transaction that appends the records also stores the number in the lane's hash, on a
//! connection that watches this hash. (`XACK` and the token are only there for entries of a stream, see [`Epoch`].)
//!
//! ```text
//! lane ──► server   MULTI, XADD …, XACK input group id …, HSET lane number N, EXEC, WATCH lane token, EXISTS token
//! lane ◄── server   OK, QUEUED …, [entry ids …, acknowledged, 0], OK, 1
//! ```
//!
//! A new connection begins with `MULTI, HGET lane number, HINCRBY lane fence …, EXEC, WATCH lane`. If the number is N
//! or higher, commit N happened and is not repeated. If it is lower, commit N cannot happen any more: an `EXEC` that
//! arrives late on the old connection finds its watched hash changed by the fence, and does nothing. The lane sends
//! commit N again. Any unexpected reply ends the connection, so there is one way to recover, and it is always taken.
//!
//! # The files
//!
//! ```text
//!  stream.rs ── begin, attempt ──► transaction ── exchange: commit N ────────────► server
//!                                   │  ▲      ◄── replies: parses its answers ─────┤
//!       conclusion: confirmed,      │  │ connection,                               │
//!       and then repeated           │  │ number                                    │
//!                                   ▼  │                                           │
//!                  kept ◄────────► succession ─── HGET number, HINCRBY fence ─────►┤
//!       commits that │              └ identity: which server, whose data? ◄────────┤ INFO server replication
//!       replicas may ├ replicas: how much of it do they have? ◄────────────────────┘ INFO replication
//!       lack         └ tally: message counts of all other commits
//! ```
//!
//! `kept`, `replicas`, `tally` and `identity` matter only if another server can succeed this one (a cluster,
//! sentinels): Redis replicates after it has confirmed, so a promoted replica may lack confirmed commits.
//!
//! Around one commit: `wire` encodes it, `token` makes sure that the epoch's token is there, `ahead` sends the next one
//! behind it, and `conclusion` says what its answers mean. `rehearsal` checks the permissions for all of it at the start.
//! `fence` notices that the hash was deleted.
//!
//! # What can go wrong, in the order of an attempt
//!
//! 1. The token is gone before the commit is sent: another process took over, the epoch is over ([`Attempted::Fenced`]).
//! 2. The server refuses a command while it queues the transaction: the `EXEC` is refused too, and nothing happened.
//! 3. The watched hash or token changed: `EXEC` answers nil, and nothing happened ([`Attempted::NotCommitted`]).
//! 4. A command fails during `EXEC`: Redis does not roll back. If the first one failed, the acknowledged entries are
//!    made pending again (`conclusion`). The error is permanent, as a repetition would append the other records twice.
//! 5. The connection breaks before the answer arrives: the next connection reads the number (`succession`).
//! 6. The number is lower than the last confirmed one: the server was replaced, or restarted with older data or none.
//!    `succession` repeats the commits that are `kept`; the `tally` shows how many messages are lost. A server that
//!    nothing can succeed keeps nothing to repeat: a warning says which confirmed records are lost. The commit in
//!    flight is sent again, and is there once. If an acknowledgement is missing, the epoch ends, and the process takes
//!    over from its own former name.
//! 7. The hash is gone: somebody deleted it, so its number says nothing. No confirmed commit is repeated. The epoch
//!    ends; without one, a warning says that a commit in flight may be appended twice. `identity` distinguishes this case
//!    from case 6. Where `INFO` is not permitted, both look like this one, and the warning names both.
//!    Before the first confirmed commit there is no number to miss: `fence` notices that the hash was recreated, and
//!    that is case 7 at any server.

mod ahead;
mod conclusion;
mod exchange;
mod fence;
mod identity;
mod kept;
mod rehearsal;
mod replicas;
mod replies;
mod succession;
mod tally;
mod token;
mod wire;

use std::sync::Arc;

use self::conclusion::Answers;
use self::exchange::send;
use self::fence::Seen;
use self::identity::Identity;
pub(super) use self::kept::Kept;
use self::succession::{Connected, Found};
use self::wire::Wire;
use super::Records;
use super::target::{Attempted, Target};
use crate::epoch::{Epoch, WENT_BACK};
use crate::redis::cluster::Node;
use crate::redis::connection::Connection;
use crate::redis::fault::Fault;
use crate::redis::resp::command;

/// Makes the commits of one lane. Owns the lane's hash, which [`remove`](Self::remove) deletes when the lane closes.
pub(super) struct Transaction {
    /// The key of the hash.
    key: String,
    /// The number of the commit in flight, or of the last one.
    number: u64,
    /// The number of the last commit that was confirmed.
    confirmed: u64,
    /// The number of messages in all confirmed commits.
    messages: u64,
    connection: Option<Connection>,
    /// Whether the commands of the commit in flight are already queued at the server: only its `EXEC` is missing.
    queued: bool,
    /// The epoch whose token the connection watches. The token existed after the watch began.
    watched: Option<Arc<Epoch>>,
    /// Whether the commit in flight was sent before.
    sent: bool,
    /// What earlier connections have seen of the fence, which shows whether the hash is still the same one.
    seen: Seen,
    /// The last commit that acknowledged entries of a stream, and their epoch.
    held: Option<(u64, Arc<Epoch>)>,
    /// The server of the current connection.
    here: Option<Identity>,
    /// The server that confirmed the last commit.
    confirmed_by: Option<Identity>,
    kept: Kept,
    /// The commit in flight, and behind it the question to the server that is sent with it.
    out: Wire,
    /// The next commit, once it is encoded.
    next: Option<Wire>,
}

impl Transaction {
    pub(super) fn new(key: String) -> Self {
        Self {
            key,
            number: 0,
            confirmed: 0,
            messages: 0,
            connection: None,
            queued: false,
            watched: None,
            sent: false,
            seen: Seen::default(),
            held: None,
            here: None,
            confirmed_by: None,
            kept: Kept::default(),
            out: Wire::default(),
            next: None,
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Starts the next commit: encodes it, unless it was sent ahead.
    pub(super) fn begin(&mut self, target: &Target, records: &Records) {
        self.number += 1;
        self.sent = false;
        self.kept.recycle(std::mem::take(&mut self.out.bytes));
        self.out = match self.next.take() {
            Some(next) => next,
            None => Wire::of(target, records, &self.key, self.number, self.kept.memory()),
        };
    }

    /// Tries to make the commit in flight. If it is dropped before it is done, the connection is gone with it.
    pub(super) async fn attempt(
        &mut self,
        target: &Target,
        records: &Records,
        next: Option<&Records>,
    ) -> Result<Attempted, Fault> {
        // An attempt that was dropped may have left its question to the server.
        self.out.bytes.truncate(self.out.end);
        // Belongs to the connection, which is lost if this function returns early.
        let queued = std::mem::take(&mut self.queued) && self.connection.is_some();
        let Some(mut connection) = self.ready(target, records).await? else {
            self.confirm(target, records);
            return Ok(Attempted::Committed);
        };
        if !queued {
            connection.log_in_again(&target.server).await?;
        }
        // By now every earlier attempt at this commit is decided.
        if let Some(epoch) = records.held()
            && (epoch.is_over() || !self.may_commit(&mut connection, target, epoch).await?)
        {
            self.connection = Some(connection);
            return Ok(Attempted::Fenced);
        }
        let asks = self.send(&mut connection, target, queued).await?;
        let ahead = self.send_ahead(&mut connection, target, records, next).await?;
        let answers = Answers::receive(&mut connection, target, records, asks).await?;
        self.conclude(connection, target, records, answers, ahead).await
    }

    /// A connection to send the commit in flight on. `None` if a new connection shows that it has happened.
    async fn ready(&mut self, target: &Target, records: &Records) -> Result<Option<Connection>, Fault> {
        if let Some(connection) = self.connection.take() {
            return Ok(Some(connection));
        }
        let Connected { connection, made, found } = self.reconnect(target).await?;
        if made >= self.number {
            self.connection = Some(connection);
            return Ok(None);
        }
        // If the hash is gone, the commit in flight may or may not have happened, even if it was the first one.
        if let Some(epoch) = records.held()
            && self.sent
            && found != Found::Everything
        {
            epoch.end(WENT_BACK);
        }
        Ok(Some(connection))
    }

    /// Sends the commit in flight, or only its `EXEC` if the rest is `queued`. Returns whether it also sent the question
    /// about the replicas.
    async fn send(
        &mut self,
        connection: &mut Connection,
        target: &Target,
        queued: bool,
    ) -> Result<bool, Fault> {
        self.sent = true;
        let Wire { bytes, exec, end } = &mut self.out;
        let asks = target.server.has_successors() && self.kept.ask(bytes);
        send(connection, &bytes[if queued { *exec } else { 0 }..]).await?;
        bytes.truncate(*end);
        Ok(asks)
    }

    /// The node of the connection, on a cluster or behind sentinels.
    pub(super) fn node(&self) -> Option<&Node> {
        self.connection.as_ref()?.node()
    }

    /// The connection, unless a commit is queued on it.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|_| !self.queued)
    }

    /// Drops the connection, and what is queued on it.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
        self.queued = false;
    }

    /// Deletes the hash.
    pub(super) async fn remove(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            // Reports or repeats missing commits before the record of them is deleted.
            None => self.reconnect(target).await?.connection,
        };
        let mut out = Vec::new();
        command(&mut out, &[b"UNLINK", self.key.as_bytes()]);
        connection.send(&out).await?;
        connection.expect(&target.server, "UNLINK", &format!("+unlink ~{}", target.lanes())).await
    }
}
