//! Reconnects: reads the number of the last commit, and repeats confirmed commits that the server lacks.

use super::Transaction;
use super::exchange::{Exchanged, needs, not_repeatable, receive, refused, send};
use super::identity::Identity;
use super::kept::Kept;
use super::replicas::Replication;
use super::replies::{Executed, Fence};
use crate::epoch::WENT_BACK;
use crate::error::Error;
use crate::redis::connection::Connection;
use crate::redis::fault::{Fault, Kind};
use crate::redis::resp::command;
use crate::sink::target::Target;

/// A new connection, and the state of the lane's hash.
pub(super) struct Connected {
    pub(super) connection: Connection,
    /// The number in the hash; 0 if there is none.
    pub(super) made: u64,
    pub(super) found: Found,
}

/// Which of the confirmed commits a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All of them.
    Everything,
    /// Those up to the number. Another server was promoted, or the server was started with older data or none.
    Less,
    /// Unknown: somebody deleted the hash. The records are assumed to be there.
    NoHash,
}

impl Transaction {
    /// Asks how much the replicas have, on a new connection if there is none. So missing commits are repeated even if
    /// nothing more is to be committed.
    pub(in crate::sink) async fn tend(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.reconnect(target).await?.connection,
        };
        let mut out = Vec::new();
        self.kept.ask_now(&mut out);
        connection.send(&out).await?;
        let answer = connection.receive(|reply| Replication::of(&reply)).await?;
        self.connection = Some(connection);
        self.kept.age(&target.keep);
        match answer {
            Some(Replication { is_primary: false, .. }) => {
                self.disconnect();
                Err(Fault::Transient("the server is now a replica".to_owned()))
            }
            Some(replication) => {
                self.kept.answered(self.confirmed, replication);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The confirmed commits that may have to be repeated.
    pub(in crate::sink) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Opens a connection, and repeats the confirmed commits that the server lacks.
    pub(super) async fn reconnect(&mut self, target: &Target) -> Result<Connected, Fault> {
        let mut connected = self.connect(target).await?;
        let (made, found) = (connected.made, connected.found);
        // Entries of missing commits are pending again, under this process's own name,
        // which others do not take over from.
        let lacks = |number: u64| found == Found::NoHash || made < number;
        if let Some((_, epoch)) = self.held.take_if(|(number, _)| lacks(*number)) {
            epoch.end(WENT_BACK);
        }
        // Counts repeated commits whose answer was lost.
        target.repeated(self.kept.made_again(made));
        match found {
            Found::Everything => {}
            Found::Less => self.repeat(&mut connected.connection, target, made).await?,
            // The next connection finds a new hash, which does not contain these commits either.
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

    /// Repeats the commits that the server lacks, and counts as lost those that are no longer kept.
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
            let Exchanged { executed, watched } = receive(connection, target, commit.answers).await?;
            if let Some(answer) = watched {
                return Err(refused(target, &answer));
            }
            match executed {
                Executed::All { .. } => {}
                Executed::Nothing(why) => return Err(Fault::Transient(why)),
                Executed::InPart { answer, .. } => {
                    return Err(not_repeatable(target, refused(target, &answer)));
                }
            }
            commit.again = false;
            target.repeated(commit.messages);
            repeated += commit.messages;
            made = commit.number;
        }
        if target.server.has_successors() {
            if repeated + lost > 0 {
                target.log_failover(repeated, lost);
            }
        } else if made < self.confirmed {
            let all = if made == 0 { Some(self.messages) } else { None };
            target.log_data_lost(self.confirmed - made, all);
        }
        self.kept.repeated();
        // So that lost commits are counted once.
        self.confirmed = made;
        Ok(())
    }

    /// Opens a connection, fences off the earlier ones, and reads the number of the last commit.
    pub(super) async fn connect(&mut self, target: &Target) -> Result<Connected, Fault> {
        let mut connection = target.connect().await?;
        self.watched = None;
        let key = self.key.as_bytes();
        let mut out = Vec::new();
        command(&mut out, &[b"MULTI"]);
        command(&mut out, &[b"HGET", key, b"number"]);
        let increment = self.seen.increment().to_string();
        command(&mut out, &[b"HINCRBY", key, b"fence", increment.as_bytes()]);
        command(&mut out, &[b"EXEC"]);
        // The watch begins after the fence. Its answer is read before the first commit is sent.
        command(&mut out, &[b"WATCH", key]);
        command(&mut out, &[b"INFO", b"server", b"replication"]);
        connection.send(&out).await?;
        let Fence { number, fence } = read_fence(&mut connection, target, &self.key).await?;
        let here = connection.receive(|reply| Identity::of(&reply)).await?;
        let recreated = self.seen.read(fence);
        let found = self.find(number, recreated, here.as_ref());
        self.kept.elsewhere(here != self.here);
        self.here = here;
        // `attempt` ends the epoch in this case, so messages with receipts are not repeated.
        let all_have_receipts = target.acknowledges.as_ref().is_some_and(|input| input.option == "input");
        let is_in_flight = self.sent && self.number > self.confirmed;
        if found == Found::NoHash && (is_in_flight || self.confirmed > 0) && !all_have_receipts {
            target.log_lane_lost(&self.key, is_in_flight);
        }
        Ok(Connected { connection, made: number.unwrap_or(0), found })
    }

    /// Which of the confirmed commits the server `here` has, judging by the contents of the lane's hash. `recreated`:
    /// whether it is another hash than the one that an earlier connection found.
    fn find(&self, number: Option<u64>, recreated: bool, here: Option<&Identity>) -> Found {
        // Servers can only be compared if `INFO` is permitted on both.
        let both = here.zip(self.confirmed_by.as_ref());
        let another = both.is_some_and(|(here, former)| here.may_lack_what(former));
        let anew = both.is_some_and(|(here, former)| here.began_after(former));
        let is_gone = if self.confirmed > 0 { number.is_none() } else { recreated };
        match is_gone {
            // Without a confirmed commit, nothing shows which it was. So the commit in flight may have happened.
            true if self.confirmed == 0 => Found::NoHash,
            // A failover cannot explain it if replicas had the commits, unless the
            // server was started without its data.
            true if !another || (self.kept.was_replicated() && !anew) => Found::NoHash,
            // If the hash exists, only a server that went back has a lower number in it.
            _ if number.unwrap_or(0) < self.confirmed => Found::Less,
            _ => Found::Everything,
        }
    }
}

/// Reads the answers up to the one to `WATCH`.
async fn read_fence(connection: &mut Connection, target: &Target, key: &str) -> Result<Fence, Fault> {
    let mut refusal = None;
    for what in ["MULTI", "HGET", "HINCRBY"] {
        if let Some(answer) = connection.receive(|reply| reply.error()).await? {
            refusal.get_or_insert((what, answer));
        }
    }
    let fence = connection.receive(|reply| Fence::read(&reply)).await?;
    let watched = connection.receive(|reply| reply.error()).await?;
    let refused = |what, answer: &str| match Kind::of(answer) {
        Kind::WrongType => Fault::Permanent(Error::WrongType {
            key: key.to_owned(),
            found: format!("value of another type ({answer})"),
            needed: "hash",
            option: target.option,
        }),
        Kind::Unknown => Fault::Permanent(target.protocol_error(answer)),
        _ => target.server.fault(&format!("{what} {key}"), &needs(target), answer),
    };
    // If `EXEC` does not exist, all commands after it are refused as well.
    let missing = fence.as_ref().err().filter(|answer| Kind::of(answer) == Kind::Missing);
    let refusal = refusal.or(missing.map(|answer| ("EXEC on", answer.clone())));
    if let Some((what, answer)) = refusal.or(watched.map(|answer| ("WATCH", answer))) {
        return Err(refused(what, &answer));
    }
    fence.map_err(|answer| refused("EXEC on", &answer))
}
