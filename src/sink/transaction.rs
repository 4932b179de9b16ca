//! Appending in numbered transactions: after any break it is known which were made.

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

/// Commits that are transactions.
///
/// Beside the stream a lane keeps a hash with two numbers: the `number` of the last commit it made, and a
/// `fence`. Every commit is one transaction that appends and stores its number, on a connection that watches
/// the hash:
///
/// `MULTI, XADD …, HSET lane number N, EXEC, WATCH lane`
///
/// When a connection breaks in the middle of a commit, nobody knows whether the server has seen it, or will.
/// So the next connection raises the fence and reads the number in one step. A commit that was made shows in
/// the number, and is not repeated. One that arrives afterwards, late, on the old connection, finds its watched
/// hash changed, and does nothing. Whatever looks odd in the replies ends the connection: then the same
/// questions have the same answers.
///
/// While one commit is answered the server has nothing to do for the lane. So where the next one is known, all of it but
/// its `EXEC` is sent already, and the server queues it:
///
/// `… EXEC, WATCH lane` | `MULTI, XADD …, HSET lane number N+1` | *the answer to N* | `EXEC, WATCH lane`
///
/// Nothing of it is executed before its `EXEC`, and that is sent when commit N is known to be made, and by the same
/// watches as ever. Whatever else becomes of N ends the connection, and what is queued there with it. So the order
/// is kept, and no number is stored before the one below it.
///
/// Nothing is queued ahead beside messages that are held: a server checks permissions again at `EXEC`, command by command.
/// If `XADD` were forbidden between the two, it would execute the `XACK` alone. Sent in one piece, all of it is refused.
///
/// What came from a stream is acknowledged in the same transaction: `XACK` stands beside the `XADD`s. Others may take
/// such messages over from a process that they take for dead, so the connection also watches the token of the
/// [`Epoch`] that they are held by, and has seen it *after* it began to watch:
///
/// `MULTI, XADD …, XACK input group id …, HSET lane number N, EXEC, WATCH lane token, EXISTS token`
///
/// Whoever takes them over deletes the token before. So either the commit comes first, and what it acknowledged is not
/// there to be taken over; or the deletion does, and the commit does nothing.
///
/// Where another server may take the place of the one that confirmed a commit, it may lack it: Redis replicates
/// afterwards. Its number says so, and the commits that are missing are made again, as far as they are [`Kept`].
pub(super) struct Transaction {
    /// The key of the hash.
    key: String,
    /// The number of the commit under way, or of the last one.
    number: u64,
    /// The number of the last commit that was confirmed.
    confirmed: u64,
    connection: Option<Connection>,
    /// Whether the connection has queued the commands of the commit under way before it began: only its `EXEC` is to
    /// be sent.
    queued: bool,
    /// The epoch whose token the connection watches, and has seen since.
    watched: Option<Arc<Epoch>>,
    /// Whether the commit under way was sent before.
    sent: bool,
    /// Whether a connection has raised the fence before: then the hash must be there.
    fenced: bool,
    /// The last commit of messages that are held, and by which epoch.
    held: Option<(u64, Arc<Epoch>)>,
    /// The server that the connection leads to.
    here: Option<Identity>,
    /// And the one that confirmed the last commit.
    confirmed_by: Option<Identity>,
    kept: Kept,
    /// The commit under way, and behind it what may be asked with it.
    out: Wire,
    /// The one that follows, if it is known.
    next: Option<Wire>,
}

/// A commit as it goes over the wire.
#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    /// Where the `EXEC` begins: before it nothing changes.
    exec: usize,
    /// Where it ends.
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

    /// Takes up the next commit.
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

    /// Writes a commit into this memory, or another one if it has none.
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

    /// Sends what of the next commit changes nothing, so that the server takes it up while the one under way is
    /// answered. False where the connection has ended: the answers to what was sent before may be there still.
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

    /// May be dropped before it is done. Then it has no connection any more.
    pub(super) async fn attempt(
        &mut self,
        target: &Target,
        records: &Records,
        next: Option<&Records>,
    ) -> Result<Made, Fault> {
        self.out.bytes.truncate(self.out.end);
        // It counts for the connection, which is lost where this ends early.
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
                // Where the hash is gone, nobody knows whether the commit under way was made, be it the first one.
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
        // Of a commit that may be under way it is known by now what became of it.
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
        // What is queued would take a new login for a part of the transaction.
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
                // If it is not watched any more, or has ended, the next commit needs another connection.
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
            // The slot left after the commands were queued.
            Executed::Nothing(why) if Kind::of(&why) == Kind::Cluster => {
                Err(target.refused(&needs(target), &why))
            }
            Executed::Nothing(why) => Ok(Made::No(why)),
            // It does not go back, and repeating it would append the other records twice.
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

    /// The commit under way is made.
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

    /// Whether commits are kept after they were made. What came from a stream is pending again where its commit is
    /// missing, and needs no repetition.
    fn keeps(&self, target: &Target, records: &Records) -> bool {
        target.server.has_successors() && !target.keep.time.is_zero() && records.held().is_none()
    }

    /// The node that the connection leads to, where there are several.
    pub(super) fn node(&self) -> Option<&Node> {
        self.connection.as_ref()?.node()
    }

    /// The connection, where nothing is queued.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|_| !self.queued)
    }

    /// Gives the connection up.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
        self.queued = false;
    }

    /// Whether the connection watches the epoch's token, and the token was still there afterwards.
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

    /// Has the server look at a commit without making it.
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
        // DISCARD has ended the watch, and the first commit needs its fence as much as any.
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

    /// Removes the hash.
    pub(super) async fn remove(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            // What is missing there is told, or made again, before nobody knows of it any more.
            None => self.reconnect(target).await?.connection,
        };
        let mut out = Vec::new();
        command(&mut out, &[b"UNLINK", self.key.as_bytes()]);
        connection.send(&out).await?;
        connection.expect(&target.server, "UNLINK", &format!("+unlink ~{}", target.lanes())).await
    }
}

/// Whether the next commit may be queued behind this one. What is large holds up the answer to this one.
fn may_be_queued(records: &Records, next: &Records) -> bool {
    records.held().is_none() && next.held().is_none() && next.bytes() <= Size::Large.most_bytes()
}

/// What a transaction was answered.
struct Exchanged {
    /// The first refusal before it was executed.
    refusal: Option<String>,
    executed: Executed,
    /// Why the hash is not watched any more.
    watched: Option<String>,
}

/// Sends a transaction, or the rest of one.
async fn send(connection: &mut Connection, out: &[u8]) -> Result<(), Fault> {
    match connection.send(out).await {
        Err(silence) if silence.kind() == ErrorKind::TimedOut => Err(silence.into()),
        // A server that takes a commit for nonsense says so in its middle, and closes: hear it out.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Hears out the answers to a transaction up to the `WATCH`.
async fn hear(connection: &mut Connection, target: &Target, answers: usize) -> Result<Exchanged, Fault> {
    // MULTI, each XADD, HSET: an error among them aborts the transaction.
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

/// Makes messages pending again that were acknowledged by a commit of which nothing was appended: the output has become
/// a key of another type, or `XADD` was forbidden after it was queued. Another process takes them over once that is
/// repaired.
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
        // What was deleted with it, as from a spill, cannot be pending.
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

/// What an ACL rule must have for the commits.
fn needs(target: &Target) -> String {
    let more = target.acknowledges.as_ref().map_or_else(String::new, |input| {
        let deletes = if input.deletes { " +xdel +eval +type" } else { "" };
        format!(" +xack +xclaim +exists{deletes} ~{} ~{}", input.stream, beside(&input.stream, "*"))
    });
    format!("+multi +exec +watch +xadd +hget +hset +hincrby ~{} ~{}{more}", target.stream, target.lanes())
}
