//! A new connection: what the server says of the commits before, and what it lacks of them.

use super::identity::Identity;
use super::kept::Kept;
use super::replicas::Replication;
use super::replies::{Executed, Fence};
use super::{Exchanged, Transaction, hear, needs, send};
use crate::epoch::WENT_BACK;
use crate::error::Error;
use crate::redis::connection::Connection;
use crate::redis::fault::{Fault, Kind};
use crate::redis::reply::Reply;
use crate::redis::resp::command;
use crate::sink::target::Target;

/// A new connection, and what the hash said to it.
pub(super) struct Connected {
    pub(super) connection: Connection,
    /// The number of the last commit that was made, as far as the hash knows.
    pub(super) made: u64,
    pub(super) found: Found,
}

/// What a server has of the commits that were confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All of them.
    Everything,
    /// Those up to the number. It is another server, which was promoted, or has been started with older data or none.
    Less,
    /// The hash was deleted by somebody, so its number says nothing: the records are there, as far as anybody knows.
    NoHash,
}

impl Transaction {
    /// Looks how far the replicas are, on a new connection if there is none, so that what a node lacks is made again also
    /// when nothing more is to be committed.
    pub(in crate::sink) async fn tend(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect(target).await?.connection,
        };
        let mut out = Vec::new();
        self.kept.ask_now(&mut out);
        connection.send(&out).await?;
        let answer = connection.receive(|reply| replication(&reply)).await?;
        self.connection = Some(connection);
        self.kept.age(&target.keep);
        match answer {
            Some(Replication { is_primary: false, .. }) => {
                self.disconnect();
                Err(Fault::Transient("it is a replica now".to_owned()))
            }
            Some(replication) => {
                self.kept.answered(self.confirmed, replication);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What is known of the commits that were confirmed.
    pub(in crate::sink) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Opens a connection, and sees to what the server lacks that was confirmed.
    pub(super) async fn reconnect(&mut self, target: &Target) -> Result<Connected, Fault> {
        let mut connected = self.connect(target).await?;
        let (made, found) = (connected.made, connected.found);
        // What it lacks of these is pending again, for a name that others do not touch.
        let lacks = |number: u64| found == Found::NoHash || made < number;
        if let Some((_, epoch)) = self.held.take_if(|(number, _)| lacks(*number)) {
            epoch.end(WENT_BACK);
        }
        // The answer to a repetition may have been lost.
        target.repeated(self.kept.made_again(made));
        match found {
            Found::Everything => {}
            Found::Less => self.repeat(&mut connected.connection, target, made).await?,
            // The next connection finds a hash that knows nothing of them either.
            Found::NoHash => {
                self.kept.forget();
                self.confirmed = 0;
            }
        }
        if self.confirmed_by.is_some() {
            self.confirmed_by.clone_from(&self.here);
        }
        Ok(connected)
    }

    /// Makes the commits again that the server lacks, and counts those that nobody has any more.
    async fn repeat(
        &mut self,
        connection: &mut Connection,
        target: &Target,
        mut made: u64,
    ) -> Result<(), Fault> {
        let mut repeated = 0;
        let lost = self.kept.lost(made);
        target.lost(lost);
        while let Some(commit) = self.kept.after(made) {
            commit.again = true;
            send(connection, &commit.commands).await?;
            let Exchanged { refusal, executed, watched } = hear(connection, target, commit.answers).await?;
            if let Some(answer) = refusal.or(watched) {
                return Err(target.refused(&needs(target), &answer));
            }
            match executed {
                Executed::All { .. } => {}
                Executed::Nothing(why) => return Err(Fault::Transient(why)),
                Executed::InPart { answer, .. } => {
                    return Err(match target.refused(&needs(target), &answer) {
                        Fault::Transient(answer) => Fault::Permanent(target.nonsense(&answer)),
                        refused => refused,
                    });
                }
            }
            commit.again = false;
            target.repeated(commit.messages);
            repeated += commit.messages;
            made = commit.number;
        }
        if repeated + lost > 0 {
            target.tell_of_going_back(repeated, lost);
        }
        self.kept.repeated();
        // What is lost is lost once.
        self.confirmed = made;
        Ok(())
    }

    /// Opens a connection, fences off the ones before, and tells the number of the last commit that was made.
    pub(super) async fn connect(&mut self, target: &Target) -> Result<Connected, Fault> {
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
        if target.server.has_successors() {
            command(&mut out, &[b"INFO", b"server", b"replication"]);
        }
        connection.send(&out).await?;

        let mut refusal = None;
        for what in ["MULTI", "HGET", "HINCRBY"] {
            if let Some(answer) = connection.receive(|reply| reply.error()).await? {
                refusal.get_or_insert((what, answer));
            }
        }
        let fence = connection.receive(|reply| Fence::read(&reply)).await?;
        let watched = connection.receive(|reply| reply.error()).await?;
        let here = match target.server.has_successors() {
            true => connection.receive(|reply| Identity::of(&reply)).await?,
            false => None,
        };

        let refused = |what, answer: &str| match Kind::of(answer) {
            Kind::WrongType => Fault::Permanent(Error::WrongType {
                key: self.key.clone(),
                found: format!("key of another type ({answer})"),
                needed: "hash",
                option: target.option,
            }),
            Kind::Unknown => Fault::Permanent(target.nonsense(answer)),
            _ => target.server.fault(&format!("{what} {}", self.key), &needs(target), answer),
        };
        // Without an EXEC everything behind it is refused as well.
        let missing = fence.as_ref().err().filter(|answer| Kind::of(answer) == Kind::Missing);
        let refusal = refusal.or(missing.map(|answer| ("EXEC on", answer.clone())));
        if let Some((what, answer)) = refusal.or(watched.map(|answer| ("WATCH", answer))) {
            return Err(refused(what, &answer));
        }
        let Fence { number, fence } = fence.map_err(|answer| refused("EXEC on", &answer))?;
        let made = number.unwrap_or(0);
        // Only one that says who it is can be told from the one before.
        let both = here.as_ref().zip(self.confirmed_by.as_ref());
        let another = both.is_some_and(|(here, former)| here.may_lack_what(former));
        let anew = both.is_some_and(|(here, former)| here.began_after(former));
        // A first connection that we never heard the answer of may have made the hash anew.
        let is_gone = if self.confirmed > 0 { number.is_none() } else { fence == 1 && self.fenced };
        let found = match is_gone {
            // Certainly not by a failover where replicas had it, unless the server was started without its data.
            true if !another || (self.kept.was_replicated() && !anew) => Found::NoHash,
            // Where the hash is there, only a server that went back has a lower number in it.
            _ if made < self.confirmed => Found::Less,
            _ => Found::Everything,
        };
        self.kept.elsewhere(here != self.here);
        self.here = here;
        // A message that has a receipt is not repeated then: see `attempt`.
        let all_have_receipts = target.acknowledges.as_ref().is_some_and(|input| input.option == "input");
        if found == Found::NoHash && !all_have_receipts {
            tracing::warn!(
                event = "lane_lost",
                stream = target.stream,
                "the hash of the lane {} is gone (deleted, flushed or evicted): if the connection broke in the middle of a \
                 commit, its records may be in {} twice",
                self.key,
                target.stream
            );
        }
        self.fenced = true;
        Ok(Connected { connection, made, found })
    }
}

/// Reads the answer to `INFO replication`; `None` where that is not allowed.
pub(super) fn replication(reply: &Reply<'_>) -> Option<Replication> {
    match reply {
        Reply::Bulk(Some(info)) => Replication::read(std::str::from_utf8(info).ok()?),
        _ => None,
    }
}
