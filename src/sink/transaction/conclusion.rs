//! Concludes from the answers whether the commit in flight has happened.

use std::sync::Arc;

use super::Transaction;
use super::ahead::Ahead;
use super::exchange::{Exchanged, not_repeatable, receive, refused};
use super::replicas::Replication;
use super::replies::{Executed, pending_again};
use crate::redis::connection::Connection;
use crate::redis::fault::{Fault, Kind};
use crate::redis::reply::Reply;
use crate::sink::Records;
use crate::sink::target::{Attempted, Target};
use crate::text::entries;

/// The answers to a commit, and to the questions that were sent with it.
pub(super) struct Answers {
    exchanged: Exchanged,
    /// Whether the token of the records' epoch exists.
    token_exists: bool,
    replication: Option<Replication>,
}

impl Answers {
    /// Reads them. `asks`: whether the question about the replicas was sent.
    pub(super) async fn receive(
        connection: &mut Connection,
        target: &Target,
        records: &Records,
        asks: bool,
    ) -> Result<Self, Fault> {
        let exchanged = receive(connection, target, records.len() + target.acknowledging(records)).await?;
        let token_exists = match records.held() {
            None => false,
            Some(_) => connection.receive(|reply| reply == Reply::Int(1)).await?,
        };
        let replication =
            if asks { connection.receive(|reply| Replication::of(&reply)).await? } else { None };
        Ok(Self { exchanged, token_exists, replication })
    }
}

impl Transaction {
    /// Says what the answers to the commit in flight mean. If it has happened, the connection is ready for the next.
    pub(super) async fn conclude(
        &mut self,
        mut connection: Connection,
        target: &Target,
        records: &Records,
        answers: Answers,
        ahead: Ahead,
    ) -> Result<Attempted, Fault> {
        let Answers { exchanged: Exchanged { executed, watched }, token_exists, replication } = answers;
        let acknowledged = match executed {
            Executed::All { acknowledged } => acknowledged,
            // The slot moved to another node after the commands were queued.
            Executed::Nothing(why) if Kind::of(&why) == Kind::Cluster => return Err(refused(target, &why)),
            Executed::Nothing(why) => return Ok(Attempted::NotCommitted(why)),
            Executed::InPart { from, answer } => {
                return Err(executed_in_part(&mut connection, target, records, from, &answer).await);
            }
        };
        self.confirm(target, records);
        if let Some(replication) = replication {
            self.kept.answered(self.number, replication);
        }
        if let Some(epoch) = records.held() {
            epoch.confirm(&self.key, self.number, acknowledged);
        }
        // If the watch was refused or the connection has ended, the next commit needs another connection.
        let is_ready = watched.is_none() && ahead != Ahead::Broken;
        self.connection = is_ready.then_some(connection);
        self.queued = is_ready && ahead == Ahead::Queued;
        self.watched = records.held().filter(|_| token_exists).cloned();
        let missing = (records.acknowledged() as u64).saturating_sub(acknowledged);
        if missing > 0 {
            target.log_not_pending(missing);
        }
        Ok(Attempted::Committed)
    }

    /// Records that the commit in flight happened.
    pub(super) fn confirm(&mut self, target: &Target, records: &Records) {
        self.confirmed = self.number;
        self.messages += records.messages();
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
}

/// The fault that a commit in part is, of which command `from` was the first to fail.
async fn executed_in_part(
    connection: &mut Connection,
    target: &Target,
    records: &Records,
    from: usize,
    answer: &str,
) -> Fault {
    if from == 0 && matches!(Kind::of(answer), Kind::WrongType | Kind::Refusal) {
        take_back(connection, target, records).await;
    }
    let input = target.acknowledges.as_ref().filter(|_| from >= records.len());
    let refused = input.and_then(|input| input.refused(answer)).unwrap_or_else(|| refused(target, answer));
    not_repeatable(target, refused)
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
