//! Appending in numbered transactions: after any break it is known which were made.

use std::io::ErrorKind;
use std::sync::Arc;

use super::Records;
use super::target::{Made, Target};
use crate::error::Error;
use crate::redis::connection::Connection;
use crate::redis::reply::{self, Reply};
use crate::redis::resp::{self, FrameError, Head, command};
use crate::redis::setback::{Kind, Setback};
use crate::slot::beside;
use crate::tenure::{Tenure, WENT_BACK};

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
/// What came from a stream is acknowledged in the same transaction: `XACK` stands beside the `XADD`s. Others may take
/// such messages over from a process that they take for dead, so the connection also watches the permit of the
/// [`Tenure`] that they are held by, and has seen it *after* it began to watch:
///
/// `MULTI, XADD …, XACK input group id …, HSET lane number N, EXEC, WATCH lane permit, EXISTS permit`
///
/// Whoever takes them over deletes the permit before. So either the commit comes first, and what it acknowledged is not
/// there to be taken over; or the deletion does, and the commit does nothing.
pub(super) struct Transaction {
    /// The key of the hash.
    key: String,
    /// The number of the commit under way, or of the last one.
    number: u64,
    /// The number of the last commit that was confirmed.
    confirmed: u64,
    connection: Option<Connection>,
    /// The tenure whose permit the connection watches, and has seen since.
    watched: Option<Arc<Tenure>>,
    /// Whether a connection has raised the fence before: then the hash must be there.
    fenced: bool,
    out: Vec<u8>,
}

impl Transaction {
    pub(super) fn new(key: String) -> Self {
        Self { key, number: 0, confirmed: 0, connection: None, watched: None, fenced: false, out: Vec::new() }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Takes up the next commit.
    pub(super) fn begin(&mut self, target: &Target, records: &Records) {
        self.number += 1;
        let (out, key) = (&mut self.out, self.key.as_bytes());
        out.clear();
        out.shrink_to(8 * Records::MOST_BYTES);
        command(out, &[b"MULTI"]);
        target.append(out, records);
        target.acknowledge(out, records);
        command(out, &[b"HSET", key, b"number", itoa::Buffer::new().format(self.number).as_bytes()]);
        command(out, &[b"EXEC"]);
        match records.held() {
            None => command(out, &[b"WATCH", key]),
            Some(tenure) => {
                command(out, &[b"WATCH", key, tenure.permit.as_bytes()]);
                command(out, &[b"EXISTS", tenure.permit.as_bytes()]);
            }
        }
    }

    pub(super) async fn attempt(&mut self, target: &Target, records: &Records) -> Result<Made, Setback> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let Connected { connection, made, forgotten } = self.connect(target).await?;
                if made >= self.number {
                    self.connection = Some(connection);
                    self.confirmed = self.number;
                    return Ok(Made::Yes);
                }
                // Where the hash is gone, nobody knows whether the commit under way was made, be it the first one.
                if let Some(tenure) = records.held().filter(|_| forgotten || made < self.confirmed) {
                    tenure.end(WENT_BACK);
                }
                connection
            }
        };
        // Of a commit that may be under way it is known by now what became of it.
        if let Some(tenure) = records.held()
            && (tenure.is_over() || !self.may_commit(&mut connection, target, tenure).await?)
        {
            self.connection = Some(connection);
            return Ok(Made::Never);
        }
        match connection.send(&self.out).await {
            Err(silence) if silence.kind() == ErrorKind::TimedOut => return Err(silence.into()),
            // A server that takes a commit for nonsense says so in its middle, and closes: hear it out.
            Ok(()) | Err(_) => {}
        }

        // MULTI, each XADD, HSET: an error among them aborts the transaction.
        let mut refusal = None;
        let answers = records.len() + target.acknowledging(records);
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
        let permitted = match records.held() {
            None => None,
            Some(tenure) => connection.receive(|reply| reply == Reply::Int(1)).await?.then(|| tenure.clone()),
        };
        if let Some(answer) = refusal {
            return Err(target.refused(&needs(target), &answer));
        }
        match executed {
            Executed::All { acknowledged } => {
                self.confirmed = self.number;
                if let Some(tenure) = records.held() {
                    tenure.confirm(&self.key, self.number);
                }
                // If it is not watched any more, the next commit needs another connection.
                self.connection = watched.is_none().then_some(connection);
                self.watched = permitted;
                let missing = (records.acknowledged() as u64).saturating_sub(acknowledged);
                if missing > 0 {
                    target.tell_of_missing(missing);
                }
                Ok(Made::Yes)
            }
            Executed::Nothing(why) => Ok(Made::No(why)),
            // It does not go back, and repeating it would append the other records twice.
            Executed::InPart { from, answer } => {
                if from == 0 && Kind::of(&answer) == Kind::WrongType {
                    take_back(&mut connection, target, records).await;
                }
                let refused = match &target.acknowledges {
                    Some(input) if from >= records.len() => input.refused(&answer),
                    _ => None,
                };
                Err(match refused.unwrap_or_else(|| target.refused(&needs(target), &answer)) {
                    Setback::Passing(answer) => Setback::Final(target.nonsense(&answer)),
                    refused => refused,
                })
            }
        }
    }

    /// Gives the connection up.
    pub(super) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Whether the connection watches the tenure's permit, and the permit was still there afterwards.
    async fn may_commit(
        &mut self,
        connection: &mut Connection,
        target: &Target,
        tenure: &Arc<Tenure>,
    ) -> Result<bool, Setback> {
        if self.watched.as_ref().is_some_and(|watched| Arc::ptr_eq(watched, tenure)) {
            return Ok(true);
        }
        let mut out = Vec::new();
        command(&mut out, &[b"WATCH", tenure.permit.as_bytes()]);
        command(&mut out, &[b"EXISTS", tenure.permit.as_bytes()]);
        connection.send(&out).await?;
        let needs = format!("+watch +exists ~{}", tenure.permit);
        connection.expect(&target.server, "WATCH", &needs).await?;
        let there =
            connection.receive(|reply| reply.error().map_or_else(|| Ok(reply == Reply::Int(1)), Err)).await?;
        match there {
            Ok(true) => self.watched = Some(tenure.clone()),
            Ok(false) => tenure.end("this process was taken for dead"),
            Err(answer) => return Err(target.refused(&needs, &answer)),
        }
        Ok(!tenure.is_over())
    }

    /// Has the server look at a commit without making it.
    pub(super) async fn rehearse(&mut self, target: &Target) -> Result<(), Setback> {
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
    pub(super) async fn remove(&mut self, target: &Target) -> Result<(), Setback> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(target.connect().await?),
        };
        let mut out = Vec::new();
        command(&mut out, &[b"UNLINK", self.key.as_bytes()]);
        connection.send(&out).await?;
        connection.expect(&target.server, "UNLINK", &format!("+unlink ~{}", target.lanes())).await
    }

    /// Opens a connection, fences off the ones before, and tells the number of the last commit that was made.
    async fn connect(&mut self, target: &Target) -> Result<Connected, Setback> {
        let mut connection = target.connect().await?;
        self.watched = None;
        let key = self.key.as_bytes();
        let mut out = Vec::new();
        command(&mut out, &[b"MULTI"]);
        command(&mut out, &[b"HGET", key, b"number"]);
        command(&mut out, &[b"HINCRBY", key, b"fence", b"1"]);
        command(&mut out, &[b"EXEC"]);
        // Watched from after the fence. Confirmed before the first commit is sent.
        command(&mut out, &[b"WATCH", key]);
        connection.send(&out).await?;

        let mut refusal = None;
        for what in ["MULTI", "HGET", "HINCRBY"] {
            if let Some(answer) = connection.receive(|reply| reply.error()).await? {
                refusal.get_or_insert((what, answer));
            }
        }
        let fence = connection.receive(|reply| Fence::read(&reply)).await?;
        let watched = connection.receive(|reply| reply.error()).await?;

        let refused = |what, answer: &str| match Kind::of(answer) {
            Kind::WrongType => Setback::Final(Error::WrongType {
                key: self.key.clone(),
                found: format!("key of another type ({answer})"),
                needed: "hash",
                option: target.option,
            }),
            Kind::Unknown => Setback::Final(target.nonsense(answer)),
            _ => target.server.setback(&format!("{what} {}", self.key), &needs(target), answer),
        };
        if let Some((what, answer)) = refusal.or(watched.map(|answer| ("WATCH", answer))) {
            return Err(refused(what, &answer));
        }
        let Fence { number, fence } = fence.map_err(|answer| refused("EXEC on", &answer))?;
        // A message that has a receipt is not repeated then: see `attempt`.
        let all_have_receipts = target.acknowledges.as_ref().is_some_and(|input| !input.deletes);
        let forgotten = fence == 1 && self.fenced;
        if forgotten && !all_have_receipts {
            tracing::warn!(
                "the lane {} is gone from Redis (deleted, flushed or evicted): if the connection broke in the \
                 middle of a commit, its records may be in {} twice",
                self.key,
                target.stream
            );
        }
        self.fenced = true;
        Ok(Connected { connection, made: number, forgotten })
    }
}

/// A new connection, and what the hash said to it.
struct Connected {
    connection: Connection,
    /// The number of the last commit that was made.
    made: u64,
    /// Whether the hash had been there, and is gone.
    forgotten: bool,
}

/// Makes messages pending again that were acknowledged by a commit of which nothing was appended: the output has become
/// a key of another type, which fails each `XADD` and nothing else. Whoever reads the stream once that is mended
/// takes them over.
async fn take_back(connection: &mut Connection, target: &Target, records: &Records) {
    let mut out = Vec::new();
    if !target.take_back(&mut out, records) {
        return;
    }
    let answer = match connection.send(&out).await {
        Ok(()) => connection.receive(|reply| reply.error()).await,
        Err(error) => Err(error.into()),
    };
    let cause = match answer {
        Ok(None) => return,
        Ok(Some(answer)) => answer,
        Err(Setback::Passing(cause)) => cause,
        Err(Setback::Final(error)) => error.to_string(),
    };
    tracing::error!(
        "{} entries were acknowledged and not appended to {}: {cause}",
        records.acknowledged(),
        target.stream
    );
}

/// What an ACL rule must have for the commits.
fn needs(target: &Target) -> String {
    let more = target.acknowledges.as_ref().map_or_else(String::new, |input| {
        let deleting = if input.deletes { " +xdel" } else { "" };
        format!(" +xack +xclaim{deleting} +exists ~{} ~{}", input.stream, beside(&input.stream, "*"))
    });
    format!("+multi +exec +watch +xadd +hget +hset +hincrby ~{} ~{}{more}", target.stream, target.lanes())
}

/// What the hash says to a new connection.
struct Fence {
    number: u64,
    fence: i64,
}

impl Fence {
    fn read(reply: &Reply<'_>) -> Result<Self, String> {
        match reply {
            Reply::Array(Some(replies)) => match replies.as_slice() {
                [Reply::Bulk(None), Reply::Int(fence)] => Ok(Self { number: 0, fence: *fence }),
                [Reply::Bulk(Some(number)), Reply::Int(fence)] => {
                    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
                    let number = number.ok_or_else(|| "the lane's number is no number".to_owned())?;
                    Ok(Self { number, fence: *fence })
                }
                replies => {
                    Err(replies.iter().find_map(Reply::error).unwrap_or_else(|| format!("{replies:?}")))
                }
            },
            other => Err(other.error().unwrap_or_else(|| format!("{other:?}"))),
        }
    }
}

/// What the server made of a transaction.
enum Executed {
    /// All of it; so many entries were acknowledged that were not before.
    All {
        acknowledged: u64,
    },
    Nothing(String),
    /// The first command that was refused, counted from 0.
    InPart {
        from: usize,
        answer: String,
    },
}

impl Executed {
    /// Reads the reply to an `EXEC` at the front of `input`, and how many bytes it takes; `None` until it is
    /// complete. Nearly all of it are the ids of the entries, which are only stepped over.
    ///
    /// `answers` are those of the commands before the last one.
    fn parse(input: &[u8], answers: usize) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((Head::Array(Some(len)), mut at)) = resp::head(input, 0)? else {
            return Ok(reply::parse(input)?.map(|(reply, used)| (Self::of_none(&reply), used)));
        };
        if len > answers + 1 {
            let (what, limit) = ("replies to a commit", answers + 1);
            return Err(FrameError::TooLarge { what, size: len, limit });
        }
        let (mut error, mut acknowledged) = (None, None);
        for index in 0..len {
            if let Some(id) = reply::skip_short_bulk(&input[at..]) {
                at += id;
                continue;
            }
            let Some((reply, used)) = reply::parse(&input[at..])? else { return Ok(None) };
            error = error.or_else(|| Some((index, reply.error()?)));
            if let Reply::Int(count) = reply {
                acknowledged = acknowledged.or(u64::try_from(count).ok());
            }
            at += used;
        }
        let executed = match error {
            Some((from, answer)) => Self::InPart { from, answer },
            None if len == answers + 1 => Self::All { acknowledged: acknowledged.unwrap_or(0) },
            None => Self::InPart { from: len, answer: format!("{len} replies to {answers} commands") },
        };
        Ok(Some((executed, at)))
    }

    /// Reads a reply that has no replies of commands in it.
    fn of_none(reply: &Reply<'_>) -> Self {
        match reply {
            Reply::Array(None) | Reply::Bulk(None) => {
                Self::Nothing("the lane's number was changed by others".to_owned())
            }
            other => Self::Nothing(other.error().unwrap_or_else(|| format!("{other:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str, appended: usize) -> Option<(Executed, usize)> {
        Executed::parse(input.as_bytes(), appended).unwrap()
    }

    const TWO: &str = "*3\r\n$15\r\n1700000000000-0\r\n$16\r\n1700000000000-10\r\n:0\r\n";

    #[test]
    fn all_of_a_commit_was_made_when_each_record_has_its_entry() {
        let (executed, used) = parse(&format!("{TWO}+OK\r\n"), 2).unwrap();
        assert!(matches!(executed, Executed::All { .. }));
        assert_eq!(used, TWO.len());
    }

    #[test]
    fn an_incomplete_answer_is_waited_for_wherever_it_ends() {
        assert!((0..TWO.len()).all(|end| parse(&TWO[..end], 2).is_none()));
    }

    #[test]
    fn an_error_among_the_replies_is_a_commit_in_part() {
        let reply = "*3\r\n$3\r\n1-0\r\n-WRONGTYPE no\r\n:0\r\n";
        assert!(matches!(
            parse(reply, 2),
            Some((Executed::InPart { from: 1, answer }, _)) if answer == "WRONGTYPE no"
        ));
        assert!(matches!(parse(TWO, 3), Some((Executed::InPart { .. }, _))));
    }

    #[test]
    fn nil_and_a_refusal_are_no_commit() {
        assert!(matches!(parse("*-1\r\n", 2), Some((Executed::Nothing(_), 5))));
        assert!(
            matches!(parse("-EXECABORT x\r\n", 2), Some((Executed::Nothing(why), _)) if why == "EXECABORT x")
        );
    }
}
