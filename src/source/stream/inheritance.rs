//! Taking over what the dead have left.

use std::time::Duration;

use tokio::time::Instant;

use super::estate::Left;
use super::{MOST_ENTRIES, Reading, Step};
use crate::entry_id::EntryId;
use crate::error::Error;
use crate::message::Origin;
use crate::redis::registry::{Entries, Held, Inherited, Refusal};
use crate::redis::setback::Setback;

/// For so long, at most, nothing else is taken over beside an entry that may be what kills its processes.
const SUSPECT: Duration = Duration::from_secs(1);

impl Reading {
    /// Whether an entry that may be what kills its processes is being processed, so that no others of those that were
    /// taken over before are to be at stake.
    pub(super) async fn suspect_is_at_work(&mut self) -> bool {
        let Some((id, since)) = self.life.suspect else { return false };
        let consumer = &self.life.tenure.consumer;
        // If it takes longer than that, or waits for its next attempt, others do not wait for it.
        let over = since.elapsed() > SUSPECT || !self.registry.is_pending(id, consumer).await.unwrap_or(true);
        if over {
            self.life.suspect = None;
        }
        !over
    }

    /// Takes over some of what another consumer has left.
    ///
    /// Each time counts as an attempt. What is taken over for the second time was held by two processes that died, and
    /// may be the cause: such entries come first, and one by one, so that the innocent ones beside them are not given
    /// up with the one that kills.
    pub(super) async fn inherit(&mut self, left: Left, count: usize) -> Result<Step, Error> {
        // Asked for here, and just before: what we have taken over already is not among them.
        let held = Held { consumer: Some(&left.holder), idle: left.idle };
        let pending = match self.registry.pending(held, left.from, MOST_ENTRIES).await {
            Ok(pending) => pending,
            Err(setback) => return self.put_off(left, setback).await,
        };
        let ids: Vec<_> = match pending.iter().find(|pending| pending.deliveries > 1) {
            Some(suspect) if left.process.is_some() => {
                self.life.suspect = Some((suspect.id, Instant::now()));
                vec![suspect.id]
            }
            _ => pending.into_iter().take(count).map(|pending| pending.id).collect(),
        };
        if ids.is_empty() {
            if let Some(process) = left.process
                && let Err(setback) = self.registry.bury(process).await
            {
                return self.put_off(left, setback).await;
            }
            self.estate.settled(&left);
            return Ok(Step::Done);
        }
        self.claim(left, &ids).await
    }

    /// Takes these entries over. Each of them until there is an answer: whether one that was lost on its way was carried
    /// out is not known before. Fewer at a time then, for it may have been too long.
    async fn claim(&mut self, left: Left, ids: &[EntryId]) -> Result<Step, Error> {
        let (mut rest, mut most) = (ids, ids.len());
        let mut backoff = self.registry.backoff();
        while !rest.is_empty() && !self.life.tenure.is_over() {
            let (next, others) = rest.split_at(most.min(rest.len()));
            match self.registry.inherit(&self.life.tenure, &left.holder, left.idle, next).await {
                Ok(inherited) => {
                    rest = others;
                    if !self.take_over(&left, inherited).await {
                        break;
                    }
                    continue;
                }
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Passing(cause)) if cause.starts_with("NOGROUP") => {
                    self.estate.settled(&left);
                    break;
                }
                Err(Setback::Passing(cause)) => {
                    tracing::debug!("cannot take over from {} yet: {cause}", left.holder);
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

    /// Hands on what was taken over; false where it was refused.
    async fn take_over(&mut self, left: &Left, inherited: Inherited) -> bool {
        match inherited.refusal {
            Some(Refusal::Expelled) => {
                self.life.tenure.end("this process was taken for dead");
                return false;
            }
            Some(Refusal::Lives) => {
                self.estate.settled(left);
                return false;
            }
            None => {}
        }
        self.intake.deleted(inherited.deleted);
        if matches!(self.origin, Origin::Input(_)) {
            self.intake.inherited(inherited.entries.len() as u64, &left.holder);
        }
        for entry in inherited.entries {
            if entry.id > self.life.last {
                self.life.ahead.insert(entry.id);
            }
            let entries = Entries::of_one(entry.id, entry.encoded, entry.fields, self.payload_field());
            self.hand_over(entries, entry.attempt).await;
        }
        true
    }

    async fn put_off(&mut self, left: Left, setback: Setback) -> Result<Step, Error> {
        match setback {
            Setback::Final(error) => Err(error),
            Setback::Passing(cause) => {
                tracing::debug!("cannot take over from {} yet: {cause}", left.holder);
                // The steward finds it again.
                self.estate.settled(&left);
                Ok(Step::Done)
            }
        }
    }
}
