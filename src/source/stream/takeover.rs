//! Claims the pending entries of dead members.

use std::time::Duration;

use tokio::time::Instant;

use super::reading::{MOST_ENTRIES, Reading, Step};
use super::takeovers::Takeover;
use crate::entry_id::EntryId;
use crate::error::Error;
use crate::message::Origin;
use crate::redis::fault::Fault;
use crate::redis::registry::{Entries, PendingFilter, Refusal, TakenOver};

/// How long, at most, other takeovers wait for an entry that may kill its processes.
const SUSPECT: Duration = Duration::from_secs(1);

impl Reading {
    /// Whether an entry that may kill its processes is being processed. Until it is done, other entries that were
    /// taken over before are not put at risk.
    pub(super) async fn suspect_is_in_progress(&mut self) -> bool {
        let Some((id, since)) = self.progress.suspect else { return false };
        let consumer = &self.progress.epoch.consumer;
        // If it takes too long, or waits for its next attempt, other entries do not wait for it.
        let over =
            since.elapsed() > SUSPECT || !self.source.registry.is_pending(id, consumer).await.unwrap_or(true);
        if over {
            self.progress.suspect = None;
        }
        !over
    }

    /// Takes over some of the pending entries of another consumer.
    ///
    /// Each takeover counts as an attempt. Two processes died while they held an entry that is taken over for the
    /// second time, so it may be the cause. Such entries come first, and one by one, so that others are not rejected
    /// with an entry that kills.
    pub(super) async fn take_over(&mut self, takeover: Takeover, count: usize) -> Result<Step, Error> {
        // Read just before the claim, so that entries we have already taken over are not among them.
        let of_holder = PendingFilter { consumer: Some(&takeover.holder), idle: takeover.idle };
        let pending = match self.source.registry.pending(of_holder, takeover.from, MOST_ENTRIES).await {
            Ok(pending) => pending,
            Err(fault) => return self.put_off(takeover, fault).await,
        };
        let ids: Vec<_> = match pending.iter().find(|pending| pending.deliveries > 1) {
            Some(suspect) if takeover.process.is_some() => {
                self.progress.suspect = Some((suspect.id, Instant::now()));
                vec![suspect.id]
            }
            _ => pending.into_iter().take(count).map(|pending| pending.id).collect(),
        };
        if ids.is_empty() {
            if let Some(process) = takeover.process
                && let Err(fault) = self.source.registry.forget(process).await
            {
                return self.put_off(takeover, fault).await;
            }
            self.source.takeovers.settled(&takeover);
            return Ok(Step::Done);
        }
        self.claim(takeover, &ids).await
    }

    /// Claims these entries. Repeats a claim until there is an answer, as a claim whose answer was lost may have been
    /// executed. Each repetition claims fewer entries, in case there were too many.
    async fn claim(&mut self, takeover: Takeover, ids: &[EntryId]) -> Result<Step, Error> {
        let (mut rest, mut most) = (ids, ids.len());
        let mut backoff = self.source.registry.backoff();
        while !rest.is_empty() && !self.progress.epoch.is_over() {
            let (next, others) = rest.split_at(most.min(rest.len()));
            match self
                .source
                .registry
                .take_over(&self.progress.epoch, &takeover.holder, takeover.idle, next)
                .await
            {
                Ok(taken_over) => {
                    rest = others;
                    if !self.hand_over_all(&takeover, taken_over).await {
                        break;
                    }
                    continue;
                }
                Err(Fault::Permanent(error)) => return Err(error),
                Err(Fault::Transient(cause)) if cause.starts_with("NOGROUP") => {
                    self.source.takeovers.settled(&takeover);
                    break;
                }
                Err(Fault::Transient(cause)) => {
                    tracing::debug!("cannot take over from {} yet: {cause}; retrying", takeover.holder);
                    self.source.outage.failed(&cause);
                    most = (next.len() / 2).max(1);
                }
            }
            tokio::select! {
                () = backoff.wait() => {}
                () = self.stop.cancelled() => return Ok(Step::Over),
            }
        }
        Ok(Step::Done)
    }

    /// Hands the claimed entries to the intake; `false` if the claim was refused.
    async fn hand_over_all(&mut self, takeover: &Takeover, taken_over: TakenOver) -> bool {
        match taken_over.refusal {
            Some(Refusal::FencedOff) => {
                self.progress.epoch.end("another process took over from this one");
                return false;
            }
            Some(Refusal::Lives) => {
                self.source.takeovers.settled(takeover);
                return false;
            }
            None => {}
        }
        self.intake.deleted(taken_over.deleted);
        if matches!(self.source.origin, Origin::Input(_)) {
            self.intake.taken_over(taken_over.entries.len() as u64, &takeover.holder, &self.source.stream);
        }
        for entry in taken_over.entries {
            if entry.id > self.progress.last {
                self.progress.ahead.insert(entry.id);
            }
            let entries = Entries::of_one(entry.id, entry.encoded, entry.fields, self.payload_field());
            self.hand_over(entries, entry.attempt).await;
        }
        true
    }

    async fn put_off(&mut self, takeover: Takeover, fault: Fault) -> Result<Step, Error> {
        match fault {
            Fault::Permanent(error) => Err(error),
            Fault::Transient(cause) => {
                tracing::debug!("cannot take over from {} yet: {cause}; retrying", takeover.holder);
                // The membership finds this consumer again.
                self.source.takeovers.settled(&takeover);
                Ok(Step::Done)
            }
        }
    }
}
