//! The membership of a stream: keeps this process's epoch, finds dead members, and measures the backlog of the group.
//!
//! `epochs` begins epochs, and `search` finds consumers to take over from.

mod epochs;
#[cfg(test)]
mod model;
mod search;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::takeovers::Takeovers;
use crate::backlog::Backlog;
use crate::config::{Begin, StreamInput, Trim};
use crate::entry_id::EntryId;
use crate::epoch::{Attempt, Epoch};
use crate::error::Error;
use crate::redis::fault::Fault;
use crate::redis::outage::{Outage, Task};
use crate::redis::registry::{Names, Registry, Renewal, Why};
use crate::redis::timing::Timing;
use crate::spill::Level;
use crate::status::Status;

/// Runs beside the engine, and ends after it: the epoch has to last until the last commit.
pub(crate) struct Membership {
    registry: Registry,
    takeovers: Arc<Takeovers>,
    epoch: Arc<Epoch>,
    attempts: mpsc::UnboundedReceiver<Attempt>,
    /// Attempts that have started and are not stored in Redis yet.
    unstored: BTreeMap<EntryId, u32>,
    lease: Duration,
    timing: Timing,
    /// Processes with a token and without a lease, and since when.
    unlisted: HashMap<Uuid, Instant>,
    input: StreamInput,
    /// Where the search for idle entries of foreign consumers continues.
    cursor: EntryId,
    backlog: Arc<Mutex<Option<Backlog>>>,
    /// For a spill: how full it is.
    level: Arc<Level>,
    status: Status,
    /// Where a created group begins to read.
    begin: Begin,
    /// Whether joining was tried, so that Redis may hold state of this process.
    joining: bool,
}

/// The part of the lease after which a process counts as dead, so that its entries are taken over within the lease.
const LAPSES: f64 = 0.8;
/// The most attempts that one call stores.
const ATTEMPTS: usize = 100;
/// The interval of [`Membership::maintain`].
const MAINTENANCE: Duration = Duration::from_secs(1);

impl Membership {
    /// A membership in the registry's group. It does not have anything in Redis yet.
    pub(crate) fn new(
        registry: Registry,
        input: StreamInput,
        lease: Duration,
        backlog: Arc<Mutex<Option<Backlog>>>,
        level: Arc<Level>,
        status: Status,
    ) -> Self {
        let (epoch, attempts) = epoch(&registry.names);
        let lease = lease.mul_f64(LAPSES);
        Self {
            registry,
            takeovers: Takeovers::new(epoch.clone()),
            epoch,
            attempts,
            unstored: BTreeMap::new(),
            lease,
            timing: Timing::new(lease),
            unlisted: HashMap::new(),
            input,
            cursor: EntryId::default(),
            backlog,
            level,
            status,
            begin: Begin::default(),
            joining: false,
        }
    }

    pub(crate) fn names(&self) -> &Names {
        &self.registry.names
    }

    pub(crate) fn takeovers(&self) -> Arc<Takeovers> {
        self.takeovers.clone()
    }

    /// Whether this group trims the stream. A spill is always trimmed: it belongs to this group alone.
    pub(crate) fn trims(&self) -> bool {
        (self.input.trim == Trim::Acknowledged && !self.names().is_of_replay()) || self.is_of_spill()
    }

    fn is_of_spill(&self) -> bool {
        self.registry.names.option == "spill-key"
    }

    pub(crate) fn status(&self) -> &Status {
        &self.status
    }

    pub(crate) fn another_registry(&self) -> Registry {
        self.registry.another()
    }

    /// Creates the group if it is missing, and begins the epoch. Can be called again after an error.
    pub(crate) async fn join(&mut self, begin: Begin) -> Result<(), Fault> {
        (self.joining, self.begin) = (true, begin);
        self.registry.create_group(begin).await?;
        self.begin().await?;
        self.takeovers.begin(self.epoch.clone());
        Ok(())
    }

    /// Keeps the epoch alive until it is dropped. Returns only after a permanent fault.
    pub(crate) async fn run(&mut self) -> Error {
        let (mut maintenance, mut sweep) = (Instant::now(), Instant::now());
        let mut renewal = Instant::now() + self.timing.interval();
        let outage = Outage::new(Task::MaintainGroup(self.registry.names.input.clone()), &self.status);
        loop {
            let next = maintenance.min(sweep).min(renewal);
            let done = tokio::select! {
                biased;
                () = self.epoch.ended() => self.begin_next().await.map(|()| renewal = Instant::now() + self.timing.interval()),
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if now >= renewal {
                        let renewed = self.renew(outage.cause().is_some()).await;
                        renewal = now + if renewed.is_ok() { self.timing.interval() } else { self.timing.retry() };
                        renewed
                    } else if now >= sweep {
                        // So often that a dead process is noticed before its whole lease is over.
                        sweep = now + self.timing.retry();
                        self.sweep().await
                    } else {
                        maintenance = now + MAINTENANCE;
                        self.maintain().await
                    }
                }
                Some(attempt) = self.attempts.recv() => self.count(attempt).await,
                () = self.epoch.many_acknowledged(), if self.trims() => self.trim().await,
            };
            match done {
                Ok(()) => drop(outage.succeeded()),
                Err(Fault::Permanent(error)) => return error,
                Err(Fault::Transient(cause)) => outage.failed(&cause),
            }
        }
    }

    /// Ends the epoch. Others may take over the entries that are still pending, at once.
    pub(crate) async fn leave(&mut self) -> Result<(), Fault> {
        if !self.joining {
            return Ok(());
        }
        // Removes dead members from whom there is nothing left to take over, so that none stays behind.
        for process in self.takeovers.dead() {
            self.registry.forget(process).await?;
        }
        let process = self.epoch.process;
        self.registry.fence_off(process, process, Why::Own).await?;
        if self.names().is_of_replay() {
            return self.registry.end_replay(process).await;
        }
        self.registry.forget(process).await?;
        match self.trims() {
            true => self.trim().await,
            false => Ok(()),
        }
    }

    /// The last entry of the stream.
    pub(crate) async fn last_entry(&mut self) -> Result<EntryId, Fault> {
        self.registry.last_entry().await
    }

    async fn renew_lease(&mut self, join: bool) -> Result<Renewal, Fault> {
        let renewed = self.registry.renew(&self.epoch, self.lease, join).await?;
        self.timing.renewed(Instant::now(), renewed != Renewal::Renewed);
        Ok(renewed)
    }

    /// `after_outage`: an outage, which was logged, explains a lapsed lease.
    async fn renew(&mut self, after_outage: bool) -> Result<(), Fault> {
        match self.renew_lease(false).await? {
            Renewal::Renewed => {}
            Renewal::Lapsed if after_outage => {}
            Renewal::Lapsed => tracing::warn!(
                event = "lease_lapsed",
                stream = self.registry.names.input,
                "the lease of this process in {} had lapsed (this process or Redis was suspended) and was renewed",
                self.registry.names.input
            ),
            Renewal::FencedOff => {
                self.epoch.end("another process took over from this one, or Redis lost its data")
            }
        }
        Ok(())
    }

    /// Trims, searches for idle entries of foreign consumers, and reads the figures of the group.
    async fn maintain(&mut self) -> Result<(), Fault> {
        if self.trims() {
            self.trim().await?;
        }
        if let Some(idle) = self.input.claim_foreign_after {
            self.find_idle_foreign(idle).await?;
        }
        let (pending, oldest_pending) = self.registry.backlog().await?;
        let lag = self.registry.lag().await?;
        let length = match lag {
            // The stream's length includes acknowledged entries that are not trimmed yet.
            Some(lag) if self.is_of_spill() => lag + pending,
            _ => self.registry.length().await?,
        };
        self.level.set(length);
        let backlog = Backlog { lag, pending, oldest_pending, length };
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = Some(backlog);
        Ok(())
    }

    /// Removes entries that every group has acknowledged. Takes no longer than a renewal can wait.
    async fn trim(&mut self) -> Result<(), Fault> {
        let until = Instant::now() + self.timing.retry();
        while self.registry.trim().await? > 0 && Instant::now() < until {}
        Ok(())
    }

    /// Stores started attempts, so that they count after this process has died, too.
    async fn count(&mut self, first: Attempt) -> Result<(), Fault> {
        self.unstored.insert(first.id, first.number);
        while let Ok(Attempt { id, number }) = self.attempts.try_recv() {
            self.unstored.insert(id, number);
        }
        while !self.unstored.is_empty() {
            let some = self.unstored.iter().take(ATTEMPTS);
            let some: Vec<_> = some.map(|(id, number)| Attempt { id: *id, number: *number }).collect();
            self.registry.count(&self.epoch, &some).await?;
            for Attempt { id, .. } in some {
                self.unstored.remove(&id);
            }
        }
        Ok(())
    }
}

fn epoch(names: &Names) -> (Arc<Epoch>, mpsc::UnboundedReceiver<Attempt>) {
    let process = Uuid::new_v4();
    Epoch::new(process, Names::consumer(process), names.token(process))
}
