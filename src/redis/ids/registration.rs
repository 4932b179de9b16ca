//! What one process owns in the ids' keys.

use std::collections::HashSet;

use redis::{Cmd, FromRedisValue, cmd};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::about::{About, SameWork};
use super::scripts::{self, CHUNK, Renewed, Verdict};
use super::text::Text;
use super::{Connect, IdsError, Names, Purpose};
use crate::redis::link::Link;
use crate::redis::timing::Timing;
use crate::status::Status;

/// The ids of this process's consumers, and the lease that covers them.
///
/// Call [`register`](Self::register), then [`run`](Self::run) until the end, then [`release`](Self::release).
/// Dropping it removes nothing: its ids are removed after the lease has lapsed.
#[derive(Debug)]
pub(crate) struct Registration<C> {
    connector: C,
    /// The connection of the last command. Gone after a command failed.
    connection: Option<Link>,
    pub(super) names: Names,
    pub(super) process: Uuid,
    /// In the order of the list.
    pub(super) ids: Vec<Uuid>,
    pub(super) about: About,
    about_json: String,
    pub(super) timing: Timing,
    /// The index of the first id that the next renewal checks.
    pub(super) window: usize,
    /// Whether ids may be missing from the list, so that all must be checked.
    pub(super) incomplete: bool,
    /// Living processes whose work was compared with ours.
    pub(super) met: HashSet<Uuid>,
    /// Those of them that append the same messages. Each was reported.
    pub(super) same_work: Vec<SameWork>,
    /// Dead processes whose lanes we cannot delete. Another process finds them by their leases.
    pub(super) left_alone: HashSet<Uuid>,
    /// The status that shows when the lease cannot be renewed.
    pub(super) status: Status,
}

impl<C: Connect> Registration<C> {
    /// The caller chooses `process` and `ids`: all different, and never used before.
    pub(crate) fn new(
        connector: C,
        names: Names,
        process: Uuid,
        ids: Vec<Uuid>,
        about: About,
        status: Status,
    ) -> Self {
        Self {
            connector,
            connection: None,
            names,
            process,
            ids,
            about_json: about.to_json(),
            timing: Timing::new(about.lease),
            about,
            window: 0,
            incomplete: true,
            met: HashSet::from([process]),
            same_work: Vec::new(),
            left_alone: HashSet::new(),
            status,
        }
    }

    /// Puts the ids into the list, in order and each once, and reports processes that do the same work.
    ///
    /// After an error, call it again to continue, or call `release` to undo it. No process is judged yet: see
    /// `Timing`.
    pub(crate) async fn register(&mut self) -> Result<(), IdsError> {
        let renewed = self.put_all_back().await?;
        self.meet(&renewed.living).await
    }

    /// Removes the own ids from the list, then what is left of the own lanes, then the lease.
    ///
    /// Retries until the lease has lapsed; then other processes remove the ids. A renewal in flight on an abandoned
    /// connection may still arrive after this. What it puts back is removed when its lease lapses.
    pub(crate) async fn release(&mut self) -> Result<(), IdsError> {
        let lapses = Instant::now() + self.about.lease;
        loop {
            match self.leave().await {
                Err(error) if !error.is_fatal() && Instant::now() < lapses => {
                    tracing::debug!("cannot remove the ids of this process yet: {error}; retrying");
                    sleep(self.timing.retry()).await;
                }
                end => return end,
            }
        }
    }

    /// Renews the lease and puts back all missing ids, in calls of at most `CHUNK`. Returns the result of the last
    /// call.
    pub(super) async fn put_all_back(&mut self) -> Result<Renewed, IdsError> {
        let mut renewed = self.renew_with(0).await?;
        for from in (CHUNK..self.ids.len()).step_by(CHUNK) {
            renewed = self.renew_with(from).await?;
        }
        self.incomplete = false;
        Ok(renewed)
    }

    /// One renewal that checks up to `CHUNK` ids from index `from` on.
    pub(super) async fn renew_with(&mut self, from: usize) -> Result<Renewed, IdsError> {
        let upto = self.ids.len().min(from + CHUNK);
        let (lease, ids) = (self.about.lease, &self.ids[from..upto]);
        let command = scripts::renew(&self.names, self.process, lease, &self.about_json, ids);
        match self.call::<Renewed>(&command).await {
            Ok(renewed) => {
                self.timing.renewed(Instant::now(), renewed.lapsed);
                Ok(renewed)
            }
            Err(error) => {
                // It may have run all the same, and its answer that ids were missing is lost.
                self.incomplete = true;
                Err(error)
            }
        }
    }

    /// Removes all ids of `process` from the list, as long as that is allowed. Returns how many were removed.
    pub(super) async fn remove_ids_of(&mut self, process: Uuid) -> Result<(Verdict, usize), IdsError> {
        let mut removed = 0;
        loop {
            let command = scripts::remove(&self.names, self.process, process);
            let (verdict, taken) = self.call::<(Verdict, usize)>(&command).await?;
            removed += taken;
            if verdict != Verdict::Done || taken < CHUNK {
                return Ok((verdict, removed));
            }
        }
    }

    pub(super) async fn delete_lanes(&mut self, about: &About, process: Uuid) -> Result<(), IdsError> {
        // One by one, because lanes of several outputs may be in several slots.
        for lane in about.lanes_of(process) {
            match self.connector.elsewhere(lane) {
                None => self.call::<()>(cmd("UNLINK").arg(lane)).await?,
                Some(mut connector) => {
                    let deletion = async {
                        let opened = connector.connect().await;
                        let mut connection = opened.map_err(|fault| IdsError::unconnected(lane, fault))?;
                        cmd("UNLINK")
                            .arg(lane)
                            .query_async::<()>(&mut *connection)
                            .await
                            .map_err(|source| IdsError::new(lane, Purpose::Register, source))
                    };
                    let waited = self.timing.interval();
                    let silent = || IdsError::Silent { key: lane.to_owned(), waited };
                    timeout(waited, deletion).await.map_err(|_| silent())??;
                }
            }
        }
        Ok(())
    }

    /// Deletes the lease of `process`. Afterwards no process can find its lanes any more.
    pub(super) async fn forget(&mut self, process: Uuid) -> Result<Verdict, IdsError> {
        let command = scripts::forget(&self.names, self.process, process);
        self.call(&command).await
    }

    /// What `processes` publish about themselves, in the given order.
    pub(super) async fn about(&mut self, processes: &[Uuid]) -> Result<Vec<Option<About>>, IdsError> {
        if processes.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = cmd("HMGET");
        command.arg(&self.names.processes);
        for process in processes {
            command.arg(process.to_string());
        }
        let texts = self.call::<Vec<Option<Text>>>(&command).await?;
        Ok(texts.into_iter().map(|text| About::from_json(&text?.0)).collect())
    }

    async fn leave(&mut self) -> Result<(), IdsError> {
        let process = self.process;
        self.remove_ids_of(process).await?;
        let about = self.about.clone();
        self.delete_lanes(&about, process).await?;
        self.forget(process).await?;
        Ok(())
    }

    /// Runs a command, on a new connection if the last command failed. Waits at most one interval.
    ///
    /// If the call is dropped halfway, its connection stays, so the next command runs after it.
    async fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, IdsError> {
        let waited = self.timing.interval();
        let key = &self.names.ids;
        let answer = timeout(waited, async {
            let link = match &mut self.connection {
                Some(link) if !link.is_closed() => link,
                none => {
                    let opened = self.connector.connect().await;
                    none.insert(opened.map_err(|fault| IdsError::unconnected(key, fault))?)
                }
            };
            command
                .query_async(&mut **link)
                .await
                .map_err(|source| IdsError::new(key, Purpose::Register, source))
        })
        .await;
        let error = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => IdsError::Silent { key: key.clone(), waited },
        };
        self.connection = None;
        Err(error)
    }
}
