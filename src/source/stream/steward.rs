//! The steward of a stream: keeps this process's tenure, looks who is dead, and knows how far behind the group is.

#[cfg(test)]
mod model;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::estate::{Estate, Left};
use crate::backlog::Backlog;
use crate::config::{Begin, StreamInput, Trim};
use crate::entry_id::EntryId;
use crate::error::Error;
use crate::redis::outage::Outage;
use crate::redis::registry::{Expelled, Held, Names, Registry, Renewal, Standing, Why};
use crate::redis::setback::Setback;
use crate::redis::timing::Timing;
use crate::spill::Level;
use crate::tenure::{Attempt, Tenure};

/// Runs beside the engine, and ends after it: the tenure lasts until the last commit is made.
pub(crate) struct Steward {
    registry: Registry,
    estate: Arc<Estate>,
    tenure: Arc<Tenure>,
    attempts: mpsc::UnboundedReceiver<Attempt>,
    /// Attempts that began and are not stored yet.
    unstored: BTreeMap<EntryId, u32>,
    lease: Duration,
    timing: Timing,
    /// Processes that have a permit and no lease, and since when.
    unlisted: HashMap<Uuid, Instant>,
    input: StreamInput,
    /// Where the search for entries that others have not touched goes on.
    cursor: EntryId,
    backlog: Arc<Mutex<Option<Backlog>>>,
    /// Of a spill: how full it is.
    level: Arc<Level>,
    /// Whether something of it may be in Redis.
    joining: bool,
}

/// The part of the lease after which a process counts as dead: so that its entries are taken over within the lease.
const LAPSES: f64 = 0.8;
/// Attempts that are stored by one call.
const ATTEMPTS: usize = 100;
/// Looks at figures, at other consumers' entries and at what can be trimmed are this far apart.
const LOOKS: Duration = Duration::from_secs(1);
/// Pages of pending entries, of a hundred each, that one look goes through.
const PAGES: usize = 10;

impl Steward {
    /// For the group of these names. It has nothing in Redis yet.
    pub(crate) fn new(
        registry: Registry,
        input: StreamInput,
        lease: Duration,
        backlog: Arc<Mutex<Option<Backlog>>>,
        level: Arc<Level>,
    ) -> Self {
        let (tenure, attempts) = tenure(&registry.names);
        let lease = lease.mul_f64(LAPSES);
        Self {
            registry,
            estate: Estate::new(tenure.clone()),
            tenure,
            attempts,
            unstored: BTreeMap::new(),
            lease,
            timing: Timing::new(lease),
            unlisted: HashMap::new(),
            input,
            cursor: EntryId::default(),
            backlog,
            level,
            joining: false,
        }
    }

    pub(crate) fn names(&self) -> &Names {
        &self.registry.names
    }

    pub(crate) fn estate(&self) -> Arc<Estate> {
        self.estate.clone()
    }

    /// Whether the stream is trimmed by us. A spill always is: it is ours alone.
    pub(crate) fn trims(&self) -> bool {
        self.input.trim == Trim::Acknowledged || self.is_of_spill()
    }

    fn is_of_spill(&self) -> bool {
        self.registry.names.option == "spill-key"
    }

    pub(crate) fn another_desk(&self) -> Registry {
        self.registry.another()
    }

    /// Creates the group if it is missing, and begins the tenure. After an error it can be called again.
    pub(crate) async fn join(&mut self, begin: Begin) -> Result<(), Setback> {
        self.joining = true;
        self.registry.create_group(begin).await?;
        self.begin().await?;
        self.estate.begin(self.tenure.clone());
        Ok(())
    }

    /// Keeps the tenure for as long as it is asked to. Comes back only when that is refused for good.
    pub(crate) async fn run(&mut self) -> Error {
        let (mut look, mut sweep) = (Instant::now(), Instant::now());
        let mut renewal = Instant::now() + self.timing.interval();
        let outage = Outage::new(format!("cannot maintain the group of {}", self.registry.names.input));
        loop {
            let next = look.min(sweep).min(renewal);
            let done = tokio::select! {
                biased;
                () = self.tenure.ended() => self.begin_anew().await.map(|()| renewal = Instant::now() + self.timing.interval()),
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if now >= renewal {
                        let kept = self.renew().await;
                        renewal = now + if kept.is_ok() { self.timing.interval() } else { self.timing.retry() };
                        kept
                    } else if now >= sweep {
                        // Often enough for a dead process to be noticed before its whole lease is over.
                        sweep = now + self.timing.retry();
                        self.sweep().await
                    } else {
                        look = now + LOOKS;
                        self.look().await
                    }
                }
                Some(attempt) = self.attempts.recv() => self.count(attempt).await,
                () = self.tenure.many_acknowledged(), if self.trims() => self.trim().await,
            };
            match done {
                Ok(()) => drop(outage.over()),
                Err(Setback::Final(error)) => return error,
                Err(Setback::Passing(cause)) => outage.failed(&cause),
            }
        }
    }

    /// Ends the tenure. What is still pending is for others to take over, at once.
    pub(crate) async fn leave(&mut self) -> Result<(), Setback> {
        if !self.joining {
            return Ok(());
        }
        // Of the dead from whom nothing is left to take over, none stays for want of a last look.
        for process in self.estate.dead() {
            self.registry.bury(process).await?;
        }
        let process = self.tenure.process;
        self.registry.expel(process, process, Why::Own).await?;
        self.registry.bury(process).await?;
        match self.trims() {
            true => self.trim().await,
            false => Ok(()),
        }
    }

    async fn keep(&mut self, join: bool) -> Result<Renewal, Setback> {
        let kept = self.registry.keep(&self.tenure, self.lease, join).await?;
        self.timing.renewed(Instant::now(), kept != Renewal::Renewed);
        Ok(kept)
    }

    async fn renew(&mut self) -> Result<(), Setback> {
        match self.keep(false).await? {
            Renewal::Renewed => {}
            Renewal::Lapsed => tracing::warn!(
                "the lease of this process in {} had lapsed: Redis or this process stood still; it is renewed",
                self.registry.names.input
            ),
            Renewal::Expelled => {
                self.tenure.end("this process was taken for dead, or Redis has lost its data")
            }
        }
        Ok(())
    }

    /// Begins a tenure. One whose beginning was not confirmed is never taken up: the request may arrive late, when the
    /// tenure is over, and bring its permit back.
    async fn begin(&mut self) -> Result<(), Setback> {
        let (tenure, attempts) = tenure(&self.registry.names);
        (self.tenure, self.attempts, self.timing) = (tenure, attempts, Timing::new(self.lease));
        self.unstored.clear();
        self.keep(true).await.map(drop)
    }

    /// Begins another tenure after one that is over, and takes over from that one like from any.
    async fn begin_anew(&mut self) -> Result<(), Setback> {
        let former = self.tenure.process;
        let mut backoff = self.registry.backoff();
        let outage = Outage::new(format!("cannot join the group of {} again", self.registry.names.input));
        loop {
            let begun = match self.begin().await {
                // Deleted before anything of it is taken over; it may be there still, if we have ended it ourselves.
                Ok(()) => self.registry.expel(self.tenure.process, former, Why::Own).await.map(drop),
                Err(setback) => Err(setback),
            };
            match begun {
                Ok(()) => break,
                Err(Setback::Final(error)) => return Err(Setback::Final(error)),
                Err(Setback::Passing(cause)) => outage.failed(&cause),
            }
            backoff.wait().await;
        }
        self.estate.begin(self.tenure.clone());
        self.estate.add(Left::by(former));
        Ok(())
    }

    /// Looks which consumers of the group are dead, and ends their tenures.
    async fn sweep(&mut self) -> Result<(), Setback> {
        let ours = self.registry.processes().await?;
        self.unlisted.retain(|process, _| ours.contains(process));
        let began = Instant::now();
        for process in ours.into_iter().filter(|process| *process != self.tenure.process) {
            // The own lease does not wait for the last of hundreds; those come with a later look.
            if began.elapsed() > LOOKS {
                break;
            }
            let why = match self.registry.standing(process).await? {
                Standing::Expelled => {
                    self.estate.add(Left::by(process));
                    continue;
                }
                Standing::Lives => {
                    self.unlisted.remove(&process);
                    continue;
                }
                Standing::Lapsed => Why::Lapsed,
                Standing::Unlisted => {
                    let since = *self.unlisted.entry(process).or_insert_with(Instant::now);
                    if since.elapsed() < self.lease {
                        continue;
                    }
                    Why::Unlisted
                }
            };
            if !self.timing.may_judge(Instant::now()) {
                continue;
            }
            match self.registry.expel(self.tenure.process, process, why).await? {
                Expelled::Done => {
                    tracing::info!(
                        "process {process} has died; what it held of {} is taken over",
                        self.registry.names.input
                    );
                    self.estate.add(Left::by(process));
                }
                Expelled::Lives => {}
                Expelled::CallerLapsed => {
                    self.timing.pause(Instant::now());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn look(&mut self) -> Result<(), Setback> {
        if self.trims() {
            self.trim().await?;
        }
        if let Some(idle) = self.input.claim_foreign_after {
            self.look_for_foreign(idle).await?;
        }
        let (pending, oldest_pending) = self.registry.backlog().await?;
        let lag = self.registry.lag().await?;
        let length = match lag {
            // What was acknowledged there may wait to be trimmed.
            Some(lag) if self.is_of_spill() => lag + pending,
            _ => self.registry.length().await?,
        };
        self.level.set(length);
        let backlog = Backlog { lag, pending, oldest_pending, length };
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = Some(backlog);
        Ok(())
    }

    /// Removes what every group has acknowledged. Not for longer than a renewal can wait.
    async fn trim(&mut self) -> Result<(), Setback> {
        let until = Instant::now() + self.timing.retry();
        while self.registry.trim().await? > 0 && Instant::now() < until {}
        Ok(())
    }

    /// Looks for entries that consumers which are not ours have not touched for so long.
    async fn look_for_foreign(&mut self, idle: Duration) -> Result<(), Setback> {
        const PAGE: usize = 100;
        for _ in 0..PAGES {
            let by_anyone = Held { consumer: None, idle };
            let pending = self.registry.pending(by_anyone, self.cursor, PAGE).await?;
            for entry in pending.iter().filter(|entry| Names::process(&entry.consumer).is_none()) {
                self.estate.add(Left::by_foreign(entry.consumer.clone(), idle, entry.id));
            }
            match pending.last() {
                Some(last) if pending.len() == PAGE => self.cursor = last.id,
                _ => {
                    self.cursor = EntryId::default();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Stores which attempts begin, so that they count after this process as well.
    async fn count(&mut self, first: Attempt) -> Result<(), Setback> {
        self.unstored.insert(first.id, first.number);
        while let Ok(Attempt { id, number }) = self.attempts.try_recv() {
            self.unstored.insert(id, number);
        }
        while !self.unstored.is_empty() {
            let some = self.unstored.iter().take(ATTEMPTS);
            let some: Vec<_> = some.map(|(id, number)| Attempt { id: *id, number: *number }).collect();
            self.registry.count(&self.tenure, &some).await?;
            for Attempt { id, .. } in some {
                self.unstored.remove(&id);
            }
        }
        Ok(())
    }
}

fn tenure(names: &Names) -> (Arc<Tenure>, mpsc::UnboundedReceiver<Attempt>) {
    let process = Uuid::new_v4();
    Tenure::new(process, Names::consumer(process), names.permit(process))
}
