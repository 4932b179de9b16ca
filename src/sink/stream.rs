//! A lane of the output: commits to one stream of a Redis server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::pipeline::Pipeline;
use super::target::{Attempted, Target};
use super::transaction::{Kept, Transaction};
use super::{Form, Lane, Records, Settled};
use crate::config::Commit;
use crate::error::Error;
use crate::redis::backoff::Backoff;
use crate::redis::cluster::Node;
use crate::redis::connection::{Connection, answers_no_more};
use crate::redis::fault::Fault;
use crate::redis::outage::{Outage, Task};
use crate::text::messages;

/// A lane with its own connection.
pub(crate) struct StreamLane {
    target: Target,
    way: Way,
    /// Reports failing commits. Shared with the other lane.
    outage: Arc<Outage>,
}

/// How long a closing lane looks for a server that has its commits, if its own server is away.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How often a lane that keeps commits is tended.
const TEND_EVERY: Duration = Duration::from_millis(250);
/// How often a lane is tended that keeps none but has made some that replicas may lack.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// How it appends.
enum Way {
    Transaction(Box<Transaction>),
    Pipeline(Box<Pipeline>),
}

impl Way {
    fn new(commit: Commit, key: String) -> Self {
        match commit {
            Commit::Atomic => Self::Transaction(Box::new(Transaction::new(key))),
            Commit::AtLeastOnce => Self::Pipeline(Box::default()),
        }
    }
}

impl StreamLane {
    /// A lane that stores the state of its commits at `key`. It connects for its first
    /// commit, or when it is rehearsed.
    pub(crate) fn new(target: Target, commit: Commit, key: String) -> Self {
        let outage = Arc::new(Outage::new(Task::Append(target.stream.clone()), &target.status));
        Self { target, way: Way::new(commit, key), outage }
    }

    /// A second lane to the same stream. An outage of both is reported once.
    pub(crate) fn another(&self, commit: Commit, key: String) -> Self {
        Self { target: self.target.clone(), way: Way::new(commit, key), outage: self.outage.clone() }
    }

    /// The key of the lane's own hash in Redis, if it has one.
    pub(crate) fn key(&self) -> Option<&str> {
        match &self.way {
            Way::Transaction(transaction) => Some(transaction.key()),
            Way::Pipeline(_) => None,
        }
    }

    /// The stream that it appends to.
    pub(crate) fn stream(&self) -> &str {
        &self.target.stream
    }

    /// Connects, and lets the server check a commit without executing it: missing permissions show now,
    /// and not with the first message.
    pub(crate) async fn rehearse(&mut self) -> Result<(), Fault> {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.rehearse(&self.target).await,
            Way::Pipeline(pipeline) => pipeline.rehearse(&self.target).await,
        }
    }

    /// Reports that appending is impossible for now. The lane tries again with each commit.
    pub(crate) fn cannot_append(&self, cause: &str) {
        self.outage.warn(cause);
    }

    /// Starts the next commit: encodes it.
    pub(crate) fn begin(&mut self, records: &Records) {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.begin(&self.target, records),
            Way::Pipeline(pipeline) => pipeline.begin(records),
        }
    }

    /// Fails early when another server has taken the place of this one, where the commit's state can be read.
    async fn attempt(&mut self, records: &Records, next: Option<&Records>) -> Result<Attempted, Fault> {
        let (server, node) = (self.target.server.clone(), self.node().cloned());
        tokio::select! {
            biased;
            () = answers_no_more(&server, node.as_ref()) => Err(Fault::Transient(server.why_left().to_owned())),
            made = self.make(records, next) => made,
        }
    }

    async fn make(&mut self, records: &Records, next: Option<&Records>) -> Result<Attempted, Fault> {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.attempt(&self.target, records, next).await,
            Way::Pipeline(pipeline) => pipeline.attempt(&self.target, records).await,
        }
    }

    /// The confirmed commits that may have to be repeated; `None` for a pipeline.
    fn kept(&self) -> Option<&Kept> {
        match &self.way {
            Way::Transaction(transaction) => Some(transaction.kept()),
            Way::Pipeline(_) => None,
        }
    }

    /// How often the lane asks which of its commits replicas have.
    fn looks_every(&self) -> Option<Duration> {
        match self.kept()? {
            kept if kept.is_keeping() => Some(TEND_EVERY),
            // If they get lost, they have to be counted.
            kept if kept.is_open() && !kept.is_alone() => Some(LOOK_EVERY),
            _ => None,
        }
    }

    /// Logs in with new credentials, between two commits.
    async fn log_in_again(&mut self) -> Result<(), Fault> {
        let server = self.target.server.clone();
        match self.connection() {
            Some(connection) => connection.log_in_again(&server).await,
            None => Ok(()),
        }
    }

    /// The connection, unless a commit is queued on it.
    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.connection(),
            Way::Pipeline(pipeline) => pipeline.connection(),
        }
    }

    fn log_not_replicated(&self) {
        let open = self.kept().map_or(0, Kept::open);
        tracing::warn!(
            event = "not_replicated",
            stream = self.stream(),
            count = open,
            "no replica has confirmed the last {} appended to {}: a failover now may lose them",
            messages(open),
            self.stream()
        );
    }

    /// Deletes the lane's hash. It stays if the server refuses that permanently.
    async fn remove(&mut self) -> Result<(), String> {
        let (server, node) = (self.target.server.clone(), self.node().cloned());
        let Way::Transaction(transaction) = &mut self.way else { return Ok(()) };
        tokio::select! {
            biased;
            () = answers_no_more(&server, node.as_ref()) => Err(server.why_left().to_owned()),
            removed = transaction.remove(&self.target) => match removed {
                Err(Fault::Transient(why)) => Err(why),
                Ok(()) | Err(Fault::Permanent(_)) => Ok(()),
            },
        }
    }

    fn node(&self) -> Option<&Node> {
        match &self.way {
            Way::Transaction(transaction) => transaction.node(),
            Way::Pipeline(pipeline) => pipeline.node(),
        }
    }

    fn disconnect(&mut self) {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.disconnect(),
            Way::Pipeline(pipeline) => pipeline.disconnect(),
        }
    }
}

impl Lane for StreamLane {
    fn form(&self) -> Form {
        self.target.form()
    }

    async fn commit(&mut self, records: &Records, next: Option<&Records>) -> Result<Settled, Error> {
        self.begin(records);
        let mut backoff = Backoff::at(&self.target.server);
        let mut failures = 0;
        loop {
            let why = match self.attempt(records, next).await {
                Ok(Attempted::Committed) => {
                    self.outage.succeeded();
                    return Ok(Settled::Committed);
                }
                Ok(Attempted::Fenced) => {
                    self.outage.succeeded();
                    return Ok(Settled::Fenced);
                }
                Ok(Attempted::NotCommitted(why)) | Err(Fault::Transient(why)) => why,
                Err(Fault::Permanent(error)) => return Err(error),
            };
            // Whatever the fault, a new connection reads which commits happened.
            self.disconnect();
            failures += 1;
            // The first retry is immediate: servers close idle connections, and that is not an outage.
            if failures > 1 {
                self.outage.failed(&why);
                backoff.wait().await;
            }
        }
    }

    async fn due(&mut self) {
        let every = self.looks_every();
        let server = self.target.server.clone();
        let login = self.connection().map(|connection| connection.login()).filter(|login| login.expires());
        tokio::select! {
            () = sleep(every.unwrap_or_default()), if every.is_some() => {}
            _ = server.logins().renewed(login) => {}
        }
    }

    async fn tend(&mut self) {
        if let Err(fault) = self.log_in_again().await {
            tracing::debug!("reopening a connection of {}: {fault:?}", self.target.stream);
            self.disconnect();
        }
        if self.looks_every().is_none() {
            return;
        }
        let (server, node) = (self.target.server.clone(), self.node().cloned());
        let Way::Transaction(transaction) = &mut self.way else { return };
        let tended = tokio::select! {
            biased;
            // A server that was replaced and does not know it yet gives outdated answers.
            () = answers_no_more(&server, node.as_ref()) => Err(Fault::Transient(server.why_left().to_owned())),
            tended = transaction.tend(&self.target) => tended,
        };
        if let Err(fault) = tended {
            // `due` returns again soon, and a permanent refusal shows with the next commit.
            tracing::debug!(
                "cannot ask what the replicas of {} have: {fault:?}; reconnecting",
                self.target.stream
            );
            self.disconnect();
        }
    }

    async fn close(&mut self) {
        // Once this lane is gone, a lost commit would not be noticed or repeated. So it waits for replicas.
        let until = Instant::now() + self.target.keep.time;
        let waits = |kept: &Kept| kept.is_keeping() && !kept.is_alone();
        while self.kept().is_some_and(waits) && Instant::now() < until {
            sleep(TEND_EVERY).await;
            self.tend().await;
        }
        let is_logged = self.kept().is_some_and(waits);
        if is_logged {
            self.log_not_replicated();
        }
        // Deleting the hash also deletes the record of commits that the server may lack. So
        // check once more, wherever it is.
        let may_lack = self.kept().is_some_and(|kept| kept.is_open() && !kept.is_alone());
        if may_lack {
            self.tend().await;
        }
        let until = Instant::now() + LAST_LOOK;
        let mut backoff = Backoff::at(&self.target.server);
        // The first connection may be as old as the lane's last commit, and lead to a server that was replaced since.
        let mut is_old = self.target.server.has_successors();
        while let Err(why) = self.remove().await {
            self.disconnect();
            let goes_on = is_old || (may_lack && Instant::now() < until);
            is_old = false;
            if !goes_on {
                tracing::debug!(
                    "cannot delete the hash of a lane of {}: {why}; it stays until the lease lapses",
                    self.stream()
                );
                if may_lack && !is_logged {
                    self.log_not_replicated();
                }
                return;
            }
            backoff.wait().await;
        }
    }
}
