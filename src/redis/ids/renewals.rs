//! The renewals: how a living process keeps its lease, and removes what dead processes left.

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::scripts::{CHUNK, Verdict};
use super::{Connect, IdsError, Registration, SameWork};
use crate::redis::outage::{Outage, Task};
use crate::text::Count;

/// How many processes are remembered as met, so that years of restarting neighbors do not fill the memory.
const MET_AT_MOST: usize = 10_000;

impl<C: Connect> Registration<C> {
    /// Renews the lease until `stop`, puts missing ids back, and removes what dead processes left.
    ///
    /// Ends early only with a fatal error. Any other failure is retried, and logged when it begins and ends.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) -> Result<(), IdsError> {
        stop.run_until_cancelled(self.renew_until_refused()).await.unwrap_or(Ok(()))
    }

    async fn renew_until_refused(&mut self) -> Result<(), IdsError> {
        let mut next = self.timing.first_renewal(Instant::now());
        let outage = Outage::new(Task::RenewLease(self.names.ids.clone()), &self.status);
        let mut has_moved = false;
        loop {
            sleep_until(next).await;
            let started = Instant::now();
            match self.renew(outage.cause().is_some()).await {
                Ok(()) => {
                    has_moved = false;
                    outage.succeeded();
                    next = started + self.timing.interval();
                }
                Err(error) if error.is_fatal() => return Err(error),
                // The next connection leads to the keys' new node.
                Err(error) if error.is_elsewhere() && !has_moved => {
                    tracing::debug!("{error}");
                    has_moved = true;
                    next = Instant::now();
                }
                Err(error) => {
                    outage.failed(&error.cause());
                    next = Instant::now() + self.timing.retry();
                }
            }
        }
    }

    /// One renewal. Checks only `CHUNK` of the ids, the next ones each time, because checking a thousand ids is a
    /// thousand searches in the list. If the list was cleared, these are missing too. `after_outage`: an outage, which
    /// was logged, explains a lapsed lease.
    async fn renew(&mut self, after_outage: bool) -> Result<(), IdsError> {
        let started = Instant::now();
        let renewed = self.renew_with(self.window).await?;
        let next = self.window + CHUNK;
        self.window = if next < self.ids.len() { next } else { 0 };

        if renewed.lapsed && !after_outage && renewed.put_back == 0 {
            tracing::warn!(
                event = "lease_lapsed",
                key = self.names.ids,
                "the lease of the consumer ids in {} had lapsed (this process or Redis was suspended) and was renewed",
                self.names.ids
            );
        }
        if renewed.put_back > 0 {
            tracing::warn!(
                event = "ids_removed",
                key = self.names.ids,
                "ids of this process were missing in {} (they were removed, or Redis lost its data); adding them again",
                self.names.ids
            );
        }
        self.incomplete |= renewed.lapsed || renewed.put_back > 0 || renewed.held_anew > 0;
        if self.incomplete {
            self.put_all_back().await?;
        }

        self.meet(&renewed.living).await?;
        for process in renewed.lapsed_others {
            let now = Instant::now();
            // After one interval the rest must wait for the next renewal, because our own lease cannot wait.
            if !self.timing.may_judge(now) || now - started > self.timing.interval() {
                break;
            }
            if !self.left_alone.contains(&process) {
                self.remove_dead(process).await?;
            }
        }
        Ok(())
    }

    /// Reads what other living processes do, each once, and reports those that do the same work.
    pub(super) async fn meet(&mut self, living: &[Uuid]) -> Result<(), IdsError> {
        if self.met.len() > MET_AT_MOST {
            self.met.clear();
            self.same_work.clear();
            self.met.insert(self.process);
        }
        let new: Vec<Uuid> = living.iter().filter(|process| !self.met.contains(process)).copied().collect();
        let abouts = self.about(&new).await?;
        for (process, about) in new.into_iter().zip(abouts) {
            self.met.insert(process);
            let Some(about) = about else { continue };
            if self.about.does_the_work_of(&about) {
                let same = SameWork { process, about };
                tracing::warn!(event = "same_work", process = %same.process, "{same}");
                self.same_work.push(same);
            }
        }
        Ok(())
    }

    /// Removes what `process`, whose lease has lapsed, left behind: its ids, its lanes, its lease, in this order.
    ///
    /// It may be interrupted anywhere: the lease stays until the end and leads another process to the rest. Every step
    /// but the deletion of the lanes checks again whether it is allowed, since the process may come back:
    ///
    /// 1. The lease lapses while the process is frozen, and its ids are removed.
    /// 2. The process continues and renews, learns that its lease had lapsed, and puts all its ids back.
    /// 3. From then on, every step here is refused.
    ///
    /// If the lanes were deleted in between, or just after 2, their owner notices, because it watches them.
    async fn remove_dead(&mut self, process: Uuid) -> Result<(), IdsError> {
        let (verdict, removed) = self.remove_ids_of(process).await?;
        if !self.may_go_on(verdict) {
            return Ok(());
        }
        if let Some(about) = self.about(&[process]).await?.pop().flatten()
            && let Err(error) = self.delete_lanes(&about, process).await
        {
            return self.leave_alone(process, error);
        }
        let verdict = self.forget(process).await?;
        if self.may_go_on(verdict) {
            tracing::info!(
                event = "ids_cleared",
                key = self.names.ids,
                %process,
                count = removed,
                "process {process} has died; removed its {} from {}",
                Count(removed as u64, "id", "ids"),
                self.names.ids
            );
        }
        Ok(())
    }

    fn may_go_on(&mut self, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Done => true,
            Verdict::Lives => false,
            Verdict::CallerLapsed => {
                self.timing.pause(Instant::now());
                false
            }
        }
    }

    /// The ids of a dead process are gone, but this process cannot delete its lanes: it lacks the permission, or they
    /// are at another node. That neither ends this process nor is retried each time. The lease stays, and leads
    /// another process there.
    fn leave_alone(&mut self, process: Uuid, error: IdsError) -> Result<(), IdsError> {
        if !error.is_fatal() && !error.is_elsewhere() {
            return Err(error);
        }
        tracing::warn!(
            event = "lanes_left",
            %process,
            "cannot delete the lanes of the dead process {process}: {error}; leaving them to another process"
        );
        self.left_alone.insert(process);
        Ok(())
    }
}
