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
//! A new connection begins with `MULTI, HGET lane number, HINCRBY lane fence 1, EXEC, WATCH lane`. If the number is N
//! or higher, commit N happened and is not repeated. If it is lower, commit N cannot happen any more: an `EXEC` that
//! arrives late on the old connection finds its watched hash changed by the fence, and does nothing. The lane sends
//! commit N again. Any unexpected reply ends the connection, so there is one way to recover, and it is always taken.
//!
//! # The files
//!
//! ```text
//!  stream.rs ── begin, attempt ──► transaction ─────── commit N ────────────────► server
//!                                   │  ▲     ◄─────── replies: parses answers ─────┤
//!                    confirmed, and │  │ connection,                               │
//!                    then repeated  │  │ number                                    │
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
//! # What can go wrong, in the order of an attempt
//!
//! 1. The token is gone before the commit is sent: another process took over, the epoch is over ([`Made::Never`]).
//! 2. The server refuses a command while it queues the transaction: the `EXEC` is refused too, and nothing happened.
//! 3. The watched hash or token changed: `EXEC` answers nil, and nothing happened ([`Made::No`]).
//! 4. A command fails during `EXEC`: Redis does not roll back. If the first one failed, the acknowledged entries are
//!    made pending again (`take_back`). The error is permanent, as a repetition would append the other records twice.
//! 5. The connection breaks before the answer arrives: the next connection reads the number (`succession`).
//! 6. The number is lower than the last confirmed one: the server was replaced, or restarted with older data.
//!    `succession` repeats the commits that are `kept`; the `tally` tells how many messages are lost. If an
//!    acknowledgement is missing, the epoch ends, and the process takes over from its own former name.
//! 7. The hash is gone: somebody deleted it, so its number says nothing. No confirmed commit is repeated. The epoch
//!    ends; without one, a warning says that a commit in flight may be appended twice. `identity` tells this case
//!    from case 6.

mod identity;
mod kept;
mod replicas;
mod replies;
mod succession;
mod tally;

use std::io::ErrorKind;
use std::sync::Arc;

use self::identity::Identity;
pub(super) use self::kept::Kept;
use self::replies::{Executed, pending_again};
use self::succession::{Connected, Found, replication};
use super::target::{Made, Target};
use super::{Records, Size};
use crate::epoch::{Epoch, WENT_BACK};
use crate::redis::cluster::Node;
use crate::redis::connection::Connection;
use crate::redis::fault::{Fault, Kind};
use crate::redis::reply::Reply;
use crate::redis::resp::command;
use crate::slot::beside;
use crate::text::entries;

/// Makes the commits of one lane. Owns the lane's hash, which [`remove`](Self::remove) deletes when the lane closes.
///
/// While the server executes a commit, it has nothing else to do for the lane. So if the next commit is known, the
/// lane sends it up to its `EXEC` before the answer arrives, and the server queues it:
///
/// `… EXEC, WATCH lane` | `MULTI, XADD …, HSET lane number N+1` | *the answer to N* | `EXEC, WATCH lane`
///
/// The `EXEC` follows once commit N is confirmed. Any other answer to N ends the connection, and the queued commit
/// with it. So no commit overtakes another.
///
/// A commit of entries of a stream is never queued ahead, nor anything behind it: a server checks permissions again
/// at `EXEC`, command by command. If `XADD` were forbidden between the two, it would execute the `XACK` alone. If all
/// of it is sent at once, all of it is refused.
///
/// The lane checks the [`Epoch`]'s token *after* it began to watch it. A takeover deletes the token first. So
/// either the commit comes first, and the acknowledged entries are not there to be taken over; or the deletion
/// does, and the commit does nothing.
pub(super) struct Transaction {
    /// The key of the hash.
    key: String,
    /// The number of the commit in flight, or of the last one.
    number: u64,
    /// The number of the last commit that was confirmed.
    confirmed: u64,
    connection: Option<Connection>,
    /// Whether the commands of the commit in flight are already queued at the server: only its `EXEC` is missing.
    queued: bool,
    /// The epoch whose token the connection watches. The token existed after the watch began.
    watched: Option<Arc<Epoch>>,
    /// Whether the commit in flight was sent before.
    sent: bool,
    /// Whether an earlier connection has incremented the fence: then the hash must exist.
    fenced: bool,
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

/// An encoded commit.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    /// Where the `EXEC` begins: nothing changes before it.
    exec: usize,
    /// Where the commit ends.
    end: usize,
}

impl Transaction {
    pub(super) fn new(key: String) -> Self {
        Self {
            key,
            number: 0,
            confirmed: 0,
            connection: None,
            queued: false,
            watched: None,
            sent: false,
            fenced: false,
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

    /// Starts the next commit.
    pub(super) fn begin(&mut self, target: &Target, records: &Records) {
        self.number += 1;
        self.sent = false;
        self.out = match self.next.take() {
            Some(next) => {
                self.kept.recycle(std::mem::take(&mut self.out.bytes));
                next
            }
            None => {
                let memory = std::mem::take(&mut self.out.bytes);
                self.write(target, records, self.number, memory)
            }
        };
    }

    /// Encodes a commit into this memory, or into recycled memory if it has no capacity.
    fn write(&mut self, target: &Target, records: &Records, number: u64, memory: Vec<u8>) -> Wire {
        let mut bytes = if memory.capacity() == 0 { self.kept.memory() } else { memory };
        let (out, key) = (&mut bytes, self.key.as_bytes());
        out.clear();
        out.shrink_to(8 * Records::MOST_BYTES);
        command(out, &[b"MULTI"]);
        target.append(out, records);
        target.acknowledge(out, records);
        command(out, &[b"HSET", key, b"number", itoa::Buffer::new().format(number).as_bytes()]);
        let exec = out.len();
        command(out, &[b"EXEC"]);
        match records.held() {
            None => command(out, &[b"WATCH", key]),
            Some(epoch) => {
                command(out, &[b"WATCH", key, epoch.token.as_bytes()]);
                command(out, &[b"EXISTS", epoch.token.as_bytes()]);
            }
        }
        let end = out.len();
        Wire { bytes, exec, end }
    }

    /// Sends the next commit up to its `EXEC`, so that the server queues it before it answers the one in flight.
    /// `false` if the connection has ended: answers to earlier commands may still be readable.
    async fn queue(
        &mut self,
        connection: &mut Connection,
        target: &Target,
        next: &Records,
    ) -> Result<bool, Fault> {
        let next = match self.next.take() {
            Some(next) => next,
            None => self.write(target, next, self.number + 1, Vec::new()),
        };
        let sent = connection.send(&next.bytes[..next.exec]).await;
        self.next = Some(next);
        match sent {
            Err(silence) if silence.kind() == ErrorKind::TimedOut => Err(silence.into()),
            sent => Ok(sent.is_ok()),
        }
    }

    /// Tries to make the commit in flight. If it is dropped before it is done, the connection is gone with it.
    pub(super) async fn attempt(
        &mut self,
        target: &Target,
        records: &Records,
        next: Option<&Records>,
    ) -> Result<Made, Fault> {
        self.out.bytes.truncate(self.out.end);
        // Belongs to the connection, which is lost if this function returns early.
        let queued = std::mem::take(&mut self.queued) && self.connection.is_some();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let Connected { connection, made, found } = self.reconnect(target).await?;
                if made >= self.number {
                    self.connection = Some(connection);
                    self.confirm(target, records);
                    return Ok(Made::Yes);
                }
                // If the hash is gone, the commit in flight may or may not have
                // happened, even if it was the first one.
                if let Some(epoch) = records.held()
                    && self.sent
                    && found != Found::Everything
                {
                    epoch.end(WENT_BACK);
                }
                connection
            }
        };
        if !queued {
            connection.log_in_again(&target.server).await?;
        }
        // By now every earlier attempt at this commit is decided.
        if let Some(epoch) = records.held()
            && (epoch.is_over() || !self.may_commit(&mut connection, target, epoch).await?)
        {
            self.connection = Some(connection);
            return Ok(Made::Never);
        }
        self.sent = true;
        let asks = target.server.has_successors() && self.kept.ask(&mut self.out.bytes);
        let answers = records.len() + target.acknowledging(records);
        send(&mut connection, &self.out.bytes[if queued { self.out.exec } else { 0 }..]).await?;
        self.out.bytes.truncate(self.out.end);
        // If a new login is due, nothing is queued: the login would become a part of the transaction.
        let next =
            next.filter(|next| may_be_queued(records, next) && !connection.is_outdated(&target.server));
        let next_is_queued = match next {
            Some(next) => Some(self.queue(&mut connection, target, next).await?),
            None => None,
        };
        let Exchanged { refusal, executed, watched } = hear(&mut connection, target, answers).await?;
        let permitted = match records.held() {
            None => None,
            Some(epoch) => connection.receive(|reply| reply == Reply::Int(1)).await?.then(|| epoch.clone()),
        };
        let replication = if asks { connection.receive(|reply| replication(&reply)).await? } else { None };
        if let Some(answer) = refusal {
            return Err(target.refused(&needs(target), &answer));
        }
        match executed {
            Executed::All { acknowledged } => {
                self.confirm(target, records);
                if let Some(replication) = replication {
                    self.kept.answered(self.number, replication);
                }
                if let Some(epoch) = records.held() {
                    epoch.confirm(&self.key, self.number, acknowledged);
                }
                // If the watch was refused or the connection has ended, the next commit needs another connection.
                let is_ready = watched.is_none() && next_is_queued != Some(false);
                self.connection = is_ready.then_some(connection);
                self.queued = is_ready && next_is_queued.is_some();
                self.watched = permitted;
                let missing = (records.acknowledged() as u64).saturating_sub(acknowledged);
                if missing > 0 {
                    target.tell_of_missing(missing);
                }
                Ok(Made::Yes)
            }
            // The slot moved to another node after the commands were queued.
            Executed::Nothing(why) if Kind::of(&why) == Kind::Cluster => {
                Err(target.refused(&needs(target), &why))
            }
            Executed::Nothing(why) => Ok(Made::No(why)),
            // Redis does not roll back, and a repetition would append the other records twice.
            Executed::InPart { from, answer } => {
                if from == 0 && matches!(Kind::of(&answer), Kind::WrongType | Kind::Refusal) {
                    take_back(&mut connection, target, records).await;
                }
                let refused = match &target.acknowledges {
                    Some(input) if from >= records.len() => input.refused(&answer),
                    _ => None,
                };
                Err(match refused.unwrap_or_else(|| target.refused(&needs(target), &answer)) {
                    Fault::Transient(answer) => Fault::Permanent(target.nonsense(&answer)),
                    refused => refused,
                })
            }
        }
    }

    /// Records that the commit in flight happened.
    fn confirm(&mut self, target: &Target, records: &Records) {
        self.confirmed = self.number;
        if self.confirmed_by != self.here {
            self.confirmed_by.clone_from(&self.here);
        }
        match (records.held(), &mut self.held) {
            (Some(epoch), Some((number, last))) if Arc::ptr_eq(epoch, last) => *number = self.number,
            (Some(epoch), last) => *last = Some((self.number, epoch.clone())),
            (None, _) => {}
        }
        if self.keeps(target, records) {
            let commands = std::mem::take(&mut self.out.bytes);
            self.kept.push(self.number, records.messages(), records.len(), commands, &target.keep);
        } else if target.server.has_successors() {
            self.kept.count(self.number, records.messages());
        }
    }

    /// Whether confirmed commits are kept. Entries of a stream need no repetition: if their commit is
    /// missing, they are pending again.
    fn keeps(&self, target: &Target, records: &Records) -> bool {
        target.server.has_successors() && !target.keep.time.is_zero() && records.held().is_none()
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

    /// Whether the connection watches the epoch's token, and the token existed after the watch began.
    async fn may_commit(
        &mut self,
        connection: &mut Connection,
        target: &Target,
        epoch: &Arc<Epoch>,
    ) -> Result<bool, Fault> {
        if self.watched.as_ref().is_some_and(|watched| Arc::ptr_eq(watched, epoch)) {
            return Ok(true);
        }
        if let Some(node) = connection.node() {
            epoch.is_at(&node.to_string());
        }
        let mut out = Vec::new();
        command(&mut out, &[b"WATCH", epoch.token.as_bytes()]);
        command(&mut out, &[b"EXISTS", epoch.token.as_bytes()]);
        connection.send(&out).await?;
        let needs = format!("+watch +exists ~{}", epoch.token);
        connection.expect(&target.server, "WATCH", &needs).await?;
        let there =
            connection.receive(|reply| reply.error().map_or_else(|| Ok(reply == Reply::Int(1)), Err)).await?;
        match there {
            Ok(true) => self.watched = Some(epoch.clone()),
            Ok(false) => epoch.end("this process was taken for dead"),
            Err(answer) => return Err(target.refused(&needs, &answer)),
        }
        Ok(!epoch.is_over())
    }

    /// Lets the server check the commands of a commit without executing them (`MULTI` … `DISCARD`).
    pub(super) async fn rehearse(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = self.connect(target).await?.connection;
        let (server, key) = (&target.server, self.key.as_bytes());
        let mut out = Vec::new();
        command(&mut out, &[b"MULTI"]);
        target.append_for_show(&mut out);
        let acknowledging = target.acknowledge_for_show(&mut out);
        command(&mut out, &[b"HSET", key, b"number", b"0"]);
        command(&mut out, &[b"UNLINK", key]);
        command(&mut out, &[b"DISCARD"]);
        // `DISCARD` ends the watch, and the first commit needs it too.
        command(&mut out, &[b"WATCH", key]);
        connection.send(&out).await?;
        connection.expect(server, "MULTI", "+multi +exec +discard").await?;
        let appended = target.looked_at(&mut connection, "XADD", &target.stream).await;
        let mut acknowledged = Ok(());
        for name in acknowledging {
            acknowledged = acknowledged.and(target.looked_at(&mut connection, name, target.input()).await);
        }
        let stored = target.looked_at(&mut connection, "HSET", &self.key).await;
        let removed = target.looked_at(&mut connection, "UNLINK", &self.key).await;
        connection.expect(server, "DISCARD", "+discard").await?;
        connection.expect(server, "WATCH", "+watch").await?;
        appended.and(acknowledged).and(stored).and(removed)?;
        self.connection = Some(connection);
        Ok(())
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

/// Whether the next commit may be queued behind this one. A large one would delay the answer to this one.
fn may_be_queued(records: &Records, next: &Records) -> bool {
    records.held().is_none() && next.held().is_none() && next.bytes() <= Size::Large.most_bytes()
}

/// The answers to a transaction.
struct Exchanged {
    /// The first error before `EXEC`.
    refusal: Option<String>,
    executed: Executed,
    /// The error of the `WATCH` after it.
    watched: Option<String>,
}

/// Sends a transaction, or the rest of one.
async fn send(connection: &mut Connection, out: &[u8]) -> Result<(), Fault> {
    match connection.send(out).await {
        Err(silence) if silence.kind() == ErrorKind::TimedOut => Err(silence.into()),
        // A server that rejects the protocol of a commit answers with an error and closes:
        // read the answer before giving up.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads the answers to a transaction, up to the one to `WATCH`.
async fn hear(connection: &mut Connection, target: &Target, answers: usize) -> Result<Exchanged, Fault> {
    // The answers to `MULTI`, each `XADD` and `HSET`: an error among them aborts the transaction.
    let mut refusal = None;
    let mut left = answers + 2;
    loop {
        left -= connection.skip(b"+QUEUED\r\n", left);
        if left == 0 {
            break;
        }
        left -= 1;
        match connection.receive(|reply| reply.error()).await {
            Ok(None) => {}
            Ok(Some(answer)) => drop(refusal.get_or_insert(answer)),
            Err(end) => {
                return Err(refusal.map_or(end, |answer| target.refused(&needs(target), &answer)));
            }
        }
    }
    let executed = connection.receive_as(|input| Executed::parse(input, answers)).await?;
    let watched = connection.receive(|reply| reply.error()).await?;
    Ok(Exchanged { refusal, executed, watched })
}

/// Makes entries pending again after a commit that acknowledged them and appended nothing: the output has
/// become a key of another type, or `XADD` was forbidden after it was queued. Another process takes the
/// entries over once that is repaired.
async fn take_back(connection: &mut Connection, target: &Target, records: &Records) {
    let mut out = Vec::new();
    if !target.take_back(&mut out, records) {
        return;
    }
    let answer = async {
        connection.send(&out).await?;
        connection.receive(|reply| pending_again(&reply)).await
    };
    let (again, cause) = match answer.await {
        // Entries that were also deleted, as in a spill, cannot become pending.
        Ok(Ok(again)) => (again, "and are deleted".to_owned()),
        Ok(Err(answer)) => (0, answer),
        Err(Fault::Transient(cause)) => (0, cause),
        Err(Fault::Permanent(error)) => (0, error.to_string()),
    };
    let lost = records.acknowledged().saturating_sub(again);
    if lost > 0 {
        tracing::error!(
            event = "entries_lost",
            stream = target.stream,
            count = lost,
            cause,
            "acknowledged {} and did not append them to {}: {cause}",
            entries(lost as u64),
            target.stream
        );
    }
}

/// The permissions that commits need, as an ACL rule.
fn needs(target: &Target) -> String {
    let more = target.acknowledges.as_ref().map_or_else(String::new, |input| {
        let deletes = if input.deletes { " +xdel +eval +type" } else { "" };
        format!(" +xack +xclaim +exists{deletes} ~{} ~{}", input.stream, beside(&input.stream, "*"))
    });
    format!("+multi +exec +watch +xadd +hget +hset +hincrby ~{} ~{}{more}", target.stream, target.lanes())
}
