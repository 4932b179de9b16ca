//! Reads the entries of a stream, and hands them to the intake.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Stream;
use super::flow::Flow;
use super::replay::{Done, Replayed};
use crate::entry_id::EntryId;
use crate::epoch::{Epoch, WENT_BACK};
use crate::error::Error;
use crate::intake::Intake;
use crate::message;
use crate::redis::backoff::Backoff;
use crate::redis::registry::Entries;

/// The most entries of one read, which occupy the server for a quarter of a millisecond.
pub(super) const MOST_ENTRIES: usize = 256;
/// About the most bytes of one read.
const MOST_BYTES: usize = 1 << 20;
/// How long a stop waits for the answer to a read. Entries in that answer stay pending, for other processes.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// A stream that is being read.
pub(super) struct Reading {
    pub(super) source: Stream,
    pub(super) intake: Intake,
    pub(super) stop: CancellationToken,
    pub(super) flow: Flow,
    /// The backoff before the next attempt, while nothing can be read.
    pub(super) backoff: Option<Backoff>,
    pub(super) progress: Progress,
}

/// The state of reading within one epoch.
pub(super) struct Progress {
    pub(super) epoch: Arc<Epoch>,
    /// The last new entry that was received.
    pub(super) last: EntryId,
    /// Entries after `last` that were taken over: they are pending for us, but not because an answer was lost.
    pub(super) ahead: BTreeSet<EntryId>,
    /// Whether the answer to a read may have been lost.
    pub(super) uncertain: bool,
    /// An entry that was taken over and may have killed its former processes, and when it was taken over.
    pub(super) suspect: Option<(EntryId, Instant)>,
    /// How far a replay has come.
    pub(super) replayed: Replayed,
}

pub(super) enum Step {
    Done,
    /// The group stops.
    Over,
}

impl Progress {
    pub(super) fn new(epoch: Arc<Epoch>) -> Self {
        Self {
            epoch,
            last: EntryId::default(),
            ahead: BTreeSet::new(),
            uncertain: false,
            suspect: None,
            replayed: Replayed::default(),
        }
    }
}

impl Reading {
    pub(super) fn new(source: Stream, intake: Intake, stop: CancellationToken) -> Self {
        let progress = Progress::new(source.takeovers.epoch());
        Self { source, intake, stop, flow: Flow::new(), backoff: None, progress }
    }

    /// Reads until the group stops, or a replay is done.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        while !self.stop.is_cancelled() {
            if let Step::Over = self.step().await? {
                break;
            }
        }
        Ok(())
    }

    async fn step(&mut self) -> Result<Step, Error> {
        if let Some(step) = self.prepare().await? {
            return Ok(step);
        }
        if let Some(replaying) = self.source.replaying.clone()
            && let Some(done) = self.progress.replayed.read
            && self.source.takeovers.next().is_none()
        {
            return Ok(self.conclude(&replaying, done).await);
        }
        let demand = tokio::select! {
            demand = self.intake.demand(self.flow.low()) => demand,
            () = self.stop.cancelled() => return Ok(Step::Over),
        };
        self.flow.note(demand);
        let count = self.flow.wanted(demand).min(MOST_ENTRIES).min(self.intake.left());
        if count == 0 {
            return Ok(Step::Over);
        }
        // Takeovers come first: those entries have waited longest.
        if let Some(left) = self.source.takeovers.next()
            && !self.suspect_is_in_progress().await
        {
            return self.take_over(left, count.min(self.flow.fitting(MOST_BYTES))).await;
        }
        self.read(count.min(self.flow.fitting(MOST_BYTES))).await
    }

    pub(super) async fn read(&mut self, count: usize) -> Result<Step, Error> {
        let asked = self.source.reader.read(&self.progress.epoch, count);
        let answer = tokio::select! {
            answer = asked => answer,
            () = stop_timeout(&self.stop) => return Ok(Step::Over),
        };
        let Some((figures, entries)) = self.answered(answer).await? else { return Ok(Step::Done) };
        self.backoff = None;
        self.source.outage.succeeded();
        if figures.last_delivered < self.progress.last {
            // The entries that we received since then will be delivered again, so they have to be dropped here.
            self.progress.epoch.end(WENT_BACK);
            return Ok(Step::Done);
        }
        self.count_trimmed(figures, &entries).await?;
        if !entries.list.is_empty() {
            self.received(entries).await;
            return Ok(Step::Done);
        }
        if self.stop.is_cancelled() {
            return Ok(Step::Over);
        }
        if self.source.replaying.is_some() {
            self.progress.replayed.read.get_or_insert(Done::All);
            return Ok(Step::Done);
        }
        let asked = self.source.reader.wait(&self.progress.epoch, count);
        let answer = tokio::select! {
            answer = asked => answer,
            () = stop_timeout(&self.stop) => return Ok(Step::Over),
        };
        if let Some(entries) = self.answered(answer).await? {
            self.received(entries).await;
        }
        Ok(Step::Done)
    }

    async fn received(&mut self, entries: Entries) {
        let (Some(first), Some(last)) = (entries.list.first(), entries.list.last()) else { return };
        if first.id <= self.progress.last {
            return self.progress.epoch.end(WENT_BACK);
        }
        self.progress.last = last.id;
        if !self.progress.ahead.is_empty() {
            self.progress.ahead = self.progress.ahead.split_off(&last.id);
        }
        self.flow.sizes(entries.spans.iter().map(|span| span.len as usize).sum(), entries.list.len());
        self.deliver(entries).await;
    }

    pub(super) async fn deliver(&mut self, entries: Entries) {
        if !entries.list.is_empty() {
            self.hand_over(entries, 1).await;
        }
    }

    pub(super) async fn hand_over(&mut self, entries: Entries, attempt: u32) {
        if self.progress.epoch.is_over() {
            // They are pending under our former name, and are taken over with its other entries.
            return;
        }
        if let Some(replaying) = self.source.replaying.clone() {
            return self.replay(&replaying, entries, attempt).await;
        }
        let Entries { bytes, spans, list, .. } = entries;
        let held =
            message::Entries { epoch: self.progress.epoch.clone(), origin: self.source.origin.clone(), list };
        self.intake.accept_entries(&self.source.channel, bytes, spans, held, attempt).await;
    }

    pub(super) fn payload_field(&self) -> Option<&[u8]> {
        self.source.origin.payload_field()
    }
}

/// Completes when a stop has waited long enough for an answer.
async fn stop_timeout(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_ANSWER).await;
}
