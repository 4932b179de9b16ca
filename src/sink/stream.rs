//! A lane of the output: commits to one stream of a Redis server.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::pipeline::Pipeline;
use super::target::{Made, Target};
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

/// A lane on a connection of its own.
pub(crate) struct StreamLane {
    target: Target,
    way: Way,
    /// Attempts at a commit that fail.
    outage: Arc<Outage>,
}

/// How long a lane that stops looks for a server that has its commits, when its own one is away.
const LAST_LOOK: Duration = Duration::from_secs(2);
/// How often a lane is tended that keeps commits.
const TEND_EVERY: Duration = Duration::from_millis(250);
/// And how often one that does not, and has made some that replicas may lack.
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
    /// A lane that keeps what it must know of its commits at `key`. It connects at its first commit, or when it
    /// is rehearsed.
    pub(crate) fn new(target: Target, commit: Commit, key: String) -> Self {
        let outage = Arc::new(Outage::new(Task::Append(target.stream.clone()), &target.status));
        Self { target, way: Way::new(commit, key), outage }
    }

    /// A second lane to the same stream. What keeps both from appending is told once.
    pub(crate) fn another(&self, commit: Commit, key: String) -> Self {
        Self { target: self.target.clone(), way: Way::new(commit, key), outage: self.outage.clone() }
    }

    /// The key of its own that it keeps in Redis, if it has one.
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

    /// Connects, and has the server look at a commit without making it: what is not permitted shows now, and not
    /// with the first message.
    pub(crate) async fn rehearse(&mut self) -> Result<(), Fault> {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.rehearse(&self.target).await,
            Way::Pipeline(pipeline) => pipeline.rehearse(&self.target).await,
        }
    }

    /// Says that nothing can be appended for now; the lane tries again with each commit.
    pub(crate) fn cannot_append(&self, cause: &str) {
        self.outage.warn(cause);
    }

    /// Takes up the next commit: makes of it what goes over the wire.
    pub(crate) fn begin(&mut self, records: &Records) {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.begin(&self.target, records),
            Way::Pipeline(pipeline) => pipeline.begin(records),
        }
    }

    /// Ends early when another server has taken the place of this one: what became of the commit shows there.
    async fn attempt(&mut self, records: &Records, next: Option<&Records>) -> Result<Made, Fault> {
        let (server, node) = (self.target.server.clone(), self.node().cloned());
        tokio::select! {
            biased;
            () = answers_no_more(&server, node.as_ref()) => Err(Fault::Transient(server.why_left().to_owned())),
            made = self.make(records, next) => made,
        }
    }

    async fn make(&mut self, records: &Records, next: Option<&Records>) -> Result<Made, Fault> {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.attempt(&self.target, records, next).await,
            Way::Pipeline(pipeline) => pipeline.attempt(&self.target, records).await,
        }
    }

    /// What is known of the commits that were confirmed, where that is of any use.
    fn kept(&self) -> Option<&Kept> {
        match &self.way {
            Way::Transaction(transaction) => Some(transaction.kept()),
            Way::Pipeline(_) => None,
        }
    }

    /// How often it looks for what replicas have of its commits.
    fn looks_every(&self) -> Option<Duration> {
        match self.kept()? {
            kept if kept.is_keeping() => Some(TEND_EVERY),
            // They may be missing, and would have to be counted.
            kept if kept.is_open() && !kept.is_alone() => Some(LOOK_EVERY),
            _ => None,
        }
    }

    /// Logs in with new credentials between two commits.
    async fn log_in_again(&mut self) -> Result<(), Fault> {
        let server = self.target.server.clone();
        match self.connection() {
            Some(connection) => connection.log_in_again(&server).await,
            None => Ok(()),
        }
    }

    /// The connection, where it can be spoken on.
    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.way {
            Way::Transaction(transaction) => transaction.connection(),
            Way::Pipeline(pipeline) => pipeline.connection(),
        }
    }

    fn tell_of_what_is_open(&self) {
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

    /// Removes what the lane keeps in Redis. What is refused for good stays.
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
                Ok(Made::Yes) => {
                    self.outage.is_over();
                    return Ok(Settled::Committed);
                }
                Ok(Made::Never) => {
                    self.outage.is_over();
                    return Ok(Settled::Fenced);
                }
                Ok(Made::No(why)) | Err(Fault::Transient(why)) => why,
                Err(Fault::Permanent(error)) => return Err(error),
            };
            // Whatever it was, a new connection finds out what was made.
            self.disconnect();
            failures += 1;
            // At once the first time: a server closes connections that were idle, and that is no trouble.
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
            tracing::debug!("a connection of {} is opened again: {fault:?}", self.target.stream);
            self.disconnect();
        }
        if self.looks_every().is_none() {
            return;
        }
        let (server, node) = (self.target.server.clone(), self.node().cloned());
        let Way::Transaction(transaction) = &mut self.way else { return };
        let tended = tokio::select! {
            biased;
            // One that has been replaced, and does not know it yet, has nothing to say.
            () = answers_no_more(&server, node.as_ref()) => Err(Fault::Transient(server.why_left().to_owned())),
            tended = transaction.tend(&self.target) => tended,
        };
        if let Err(fault) = tended {
            // It is tried again soon, and what is refused for good shows with the next commit.
            tracing::debug!(
                "cannot ask what the replicas of {} have: {fault:?}; reconnecting",
                self.target.stream
            );
            self.disconnect();
        }
    }

    async fn close(&mut self) {
        // What nobody else has may be missing where this lane is not there any more to see it.
        let until = Instant::now() + self.target.keep.time;
        let waits = |kept: &Kept| kept.is_keeping() && !kept.is_alone();
        while self.kept().is_some_and(waits) && Instant::now() < until {
            sleep(TEND_EVERY).await;
            self.tend().await;
        }
        let is_told = self.kept().is_some_and(waits);
        if is_told {
            self.tell_of_what_is_open();
        }
        // With the hash goes what is known of commits that the server may lack: so a last look, wherever it is then.
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
                if may_lack && !is_told {
                    self.tell_of_what_is_open();
                }
                return;
            }
            backoff.wait().await;
        }
    }
}
