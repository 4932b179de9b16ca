//! The source `stream`, read through its consumer group. The spill is read in the same way.
//!
//! ```text
//!   membership   keeps the epoch, finds dead members, counts    (source/stream/membership.rs)
//!      │ takeovers: which ones are due                          (source/stream/takeovers.rs)
//!   reader       reads, hands entries to the intake             (here)
//!      ├ takeover: claims the entries of a dead member          (source/stream/takeover.rs)
//!      ├ replay: which rejected messages are processed again    (source/stream/replay.rs)
//!      └ flow: how many entries the consumers can start soon    (source/stream/flow.rs)
//! ```

mod flow;
mod membership;
mod replay;
mod takeover;
mod takeovers;
mod trimmed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use self::flow::Flow;
pub(crate) use self::membership::Membership;
use self::replay::Replayed;
pub(crate) use self::replay::{Replaying, Shared as SharedReplay};
use self::takeovers::Takeovers;
use self::trimmed::Trimmed;
use super::Source;
use crate::config::Begin;
use crate::entry_id::EntryId;
use crate::epoch::{Epoch, WENT_BACK};
use crate::error::Error;
use crate::intake::Intake;
use crate::message::{self, Origin};
use crate::redis::backoff::Backoff;
use crate::redis::fault::Fault;
use crate::redis::outage::{Outage, Task};
use crate::redis::registry::{Entries, Former, Reader, Registry, Unread};

/// The most entries of one read, which occupy the server for a quarter of a millisecond.
const MOST_ENTRIES: usize = 256;
/// About the most bytes of one read.
const MOST_BYTES: usize = 1 << 20;
/// How long a stop waits for the answer to a read. Entries in that answer stay pending, for other processes.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// A stream whose group exists.
pub(crate) struct Stream {
    reader: Reader,
    registry: Registry,
    takeovers: Arc<Takeovers>,
    begin: Begin,
    origin: Origin,
    stream: Arc<str>,
    /// The name that messages give as their source: for a spill, the channel they were published to.
    channel: Arc<str>,
    /// Whether this group trims the stream.
    trims: bool,
    /// Reports failing attempts to read.
    outage: Outage,
    /// The replay, if this is the stream of rejected messages.
    replaying: Option<Arc<Replaying>>,
}

impl Stream {
    /// The source for a membership that has joined. `reader` is connected. `channel` is the name that its
    /// messages give as their source.
    pub(crate) fn new(
        reader: Reader,
        membership: &Membership,
        begin: Begin,
        origin: Origin,
        channel: &str,
    ) -> Self {
        let registry = membership.another_registry();
        let stream = registry.names.input.as_str().into();
        let (takeovers, trims) = (membership.takeovers(), membership.trims());
        let outage = Outage::new(Task::Read(registry.names.input.clone()), membership.status());
        Self {
            reader,
            registry,
            takeovers,
            begin,
            origin,
            stream,
            channel: channel.into(),
            trims,
            outage,
            replaying: None,
        }
    }

    /// Makes this source a replay, which ends by itself.
    pub(crate) fn replays(self, replaying: Replaying) -> Self {
        Self { replaying: Some(Arc::new(replaying)), ..self }
    }
}

impl Source for Stream {
    async fn run(self, intake: Intake, stop: CancellationToken) -> Result<(), Error> {
        let Self { reader, registry, takeovers, begin, origin, stream, channel, trims, outage, replaying } =
            self;
        let epoch = takeovers.epoch();
        let mut reading = Reading {
            reader,
            registry,
            takeovers,
            begin,
            origin,
            stream,
            channel,
            intake,
            stop: stop.clone(),
            flow: Flow::new(),
            trouble: None,
            outage,
            trimmed: Trimmed::new(trims),
            replaying,
            progress: Progress::new(epoch),
        };
        while !stop.is_cancelled() {
            if let Step::Over = reading.step().await? {
                break;
            }
        }
        Ok(())
    }
}

struct Reading {
    reader: Reader,
    registry: Registry,
    takeovers: Arc<Takeovers>,
    begin: Begin,
    origin: Origin,
    stream: Arc<str>,
    channel: Arc<str>,
    intake: Intake,
    stop: CancellationToken,
    flow: Flow,
    /// The backoff before the next attempt, while nothing can be read.
    trouble: Option<Backoff>,
    /// Reports failing attempts to read.
    outage: Outage,
    trimmed: Trimmed,
    replaying: Option<Arc<Replaying>>,
    progress: Progress,
}

/// The state of reading within one epoch.
struct Progress {
    epoch: Arc<Epoch>,
    /// The last new entry that was received.
    last: EntryId,
    /// Entries after `last` that were taken over: they are pending for us, but not because an answer was lost.
    ahead: BTreeSet<EntryId>,
    /// Whether the answer to a read may have been lost.
    uncertain: bool,
    /// An entry that was taken over and may have killed its former processes, and when it was taken over.
    suspect: Option<(EntryId, Instant)>,
    /// How far a replay has come.
    replayed: Replayed,
}

enum Step {
    Done,
    /// The group stops.
    Over,
}

impl Progress {
    fn new(epoch: Arc<Epoch>) -> Self {
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
    async fn step(&mut self) -> Result<Step, Error> {
        if let Some(step) = self.prepare().await? {
            return Ok(step);
        }
        if let Some(replaying) = self.replaying.clone()
            && self.progress.replayed.is_read
            && self.takeovers.next().is_none()
        {
            return Ok(self.conclude(&replaying).await);
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
        if let Some(left) = self.takeovers.next()
            && !self.suspect_is_at_work().await
        {
            return self.take_over(left, count.min(self.flow.fitting(MOST_BYTES))).await;
        }
        self.read(count.min(self.flow.fitting(MOST_BYTES))).await
    }

    /// Prepares for a read: an epoch, a connection, and entries whose answer was lost.
    /// `None` when everything is ready.
    async fn prepare(&mut self) -> Result<Option<Step>, Error> {
        if self.progress.epoch.is_over() {
            tokio::select! {
                epoch = self.takeovers.epoch_after(&self.progress.epoch) => self.progress = Progress::new(epoch),
                () = self.stop.cancelled() => return Ok(Some(Step::Over)),
            }
        }
        if !self.reader.is_connected() {
            self.progress.uncertain = true;
            if let Step::Over = self.connect().await? {
                return Ok(Some(Step::Over));
            }
        }
        if let Some(node) = self.reader.node() {
            self.progress.epoch.is_at(&node.to_string());
        }
        if self.progress.epoch.is_over() {
            return Ok(Some(Step::Done));
        }
        self.look_at_the_count().await?;
        if !self.progress.uncertain {
            return Ok(None);
        }
        // Acknowledged entries may be pending again, under this process's own name,
        // which others do not take over from.
        match self.registry.has_gone_back(&self.progress.epoch).await {
            Ok(false) => self.recover().await.map(Some),
            Ok(true) => {
                self.progress.epoch.end(WENT_BACK);
                Ok(Some(Step::Done))
            }
            Err(Fault::Permanent(error)) => Err(error),
            Err(Fault::Transient(cause)) => {
                self.put_up_with(&cause).await;
                Ok(Some(Step::Done))
            }
        }
    }

    async fn connect(&mut self) -> Result<Step, Error> {
        loop {
            match self.reader.connect().await {
                Ok(Former::Gone) => {
                    // The registry's connection is usually broken by the same cause.
                    self.registry.disconnect();
                    self.trimmed.distrust();
                    return Ok(Step::Done);
                }
                Ok(Former::MayBeHeard) => {
                    // Entries that this name gets from now on are left to a takeover.
                    self.progress.epoch.end("a read was given up that Redis may still hear");
                    return Ok(Step::Done);
                }
                Err(Fault::Permanent(error)) => return Err(error),
                Err(Fault::Transient(cause)) => self.put_up_with(&cause).await,
            }
            if self.stop.is_cancelled() {
                return Ok(Step::Over);
            }
        }
    }

    /// Waits before the next attempt. Nothing is lost meanwhile: unread entries stay in the stream.
    async fn put_up_with(&mut self, cause: &str) {
        let Some(backoff) = &mut self.trouble else {
            // The first retry is immediate: servers close idle connections, and that is not an outage.
            tracing::debug!("lost the connection that reads {}: {cause}; reconnecting", self.stream);
            self.trouble = Some(Backoff::at(self.reader.server()));
            return;
        };
        self.outage.failed(cause);
        let _ = self.stop.run_until_cancelled(backoff.wait()).await;
    }

    /// Asks again for entries that Redis handed to us and whose answer was lost.
    async fn recover(&mut self) -> Result<Step, Error> {
        let answer = self.reader.history(&self.progress.epoch, self.progress.last, MOST_ENTRIES).await;
        let Some(mut entries) = self.answered(answer).await? else { return Ok(Step::Done) };
        // The next read may be far away, while all consumers are busy.
        self.trouble = None;
        self.outage.is_over();
        let asked_again = entries.list.len() + entries.deleted.len();
        self.progress.uncertain = asked_again > 0;
        if let Some(last) =
            entries.list.iter().map(|entry| entry.id).chain(entries.deleted.iter().copied()).max()
        {
            self.progress.last = last;
        }
        let ahead = std::mem::take(&mut self.progress.ahead);
        let known: Vec<_> = entries.list.iter().map(|entry| ahead.contains(&entry.id)).collect();
        keep_unless(&mut entries.spans, &known);
        keep_unless(&mut entries.list, &known);
        self.progress.ahead = ahead.into_iter().filter(|id| *id > self.progress.last).collect();
        self.forget(&entries.deleted).await?;
        self.deliver(entries).await;
        Ok(Step::Done)
    }

    /// Acknowledges entries that are pending for us and were deleted.
    async fn forget(&mut self, deleted: &[EntryId]) -> Result<(), Error> {
        if deleted.is_empty() {
            return Ok(());
        }
        match self.registry.acknowledge(deleted).await {
            Ok(count) => self.intake.deleted(count),
            Err(Fault::Permanent(error)) => return Err(error),
            Err(Fault::Transient(cause)) => {
                tracing::debug!(
                    "cannot acknowledge {} deleted entries: {cause}; they stay pending",
                    deleted.len()
                )
            }
        }
        Ok(())
    }

    async fn read(&mut self, count: usize) -> Result<Step, Error> {
        let asked = self.reader.read(&self.progress.epoch, count);
        let answer = tokio::select! {
            answer = asked => answer,
            () = stopped_long_ago(&self.stop) => return Ok(Step::Over),
        };
        let Some((figures, entries)) = self.answered(answer).await? else { return Ok(Step::Done) };
        self.trouble = None;
        self.outage.is_over();
        if figures.last_delivered < self.progress.last {
            // The entries that we received since then will be delivered again, so they have to be dropped here.
            self.progress.epoch.end(WENT_BACK);
            return Ok(Step::Done);
        }
        self.look_for_trimmed(figures, &entries).await?;
        if !entries.list.is_empty() {
            self.received(entries).await;
            return Ok(Step::Done);
        }
        if self.stop.is_cancelled() {
            return Ok(Step::Over);
        }
        if self.replaying.is_some() {
            self.progress.replayed.is_read = true;
            return Ok(Step::Done);
        }
        let asked = self.reader.wait(&self.progress.epoch, count);
        let answer = tokio::select! {
            answer = asked => answer,
            () = stopped_long_ago(&self.stop) => return Ok(Step::Over),
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

    /// Returns a usable answer. Otherwise handles the fault, and returns `None`.
    async fn answered<T>(&mut self, answer: Result<T, Unread>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Unread::Permanent(error)) => Err(error),
            Err(Unread::Broken(cause)) => {
                self.put_up_with(&cause).await;
                Ok(None)
            }
            Err(Unread::NoGroup(answer)) if self.replaying.is_some() => {
                // A new group would deliver the entries that we hold once more.
                self.progress.epoch.end(&format!("the group of the replay was gone ({answer})"));
                Ok(None)
            }
            Err(Unread::NoGroup(answer)) => {
                match self.registry.create_group(self.begin).await {
                    Ok(true) => {
                        self.intake.group_lost(&answer, &self.registry.names.group, &self.stream);
                        if matches!(self.origin, Origin::Spill) {
                            // The entries that were appended since the deletion are still there.
                            let left = self.registry.length().await.unwrap_or(0);
                            self.intake.spill_lost(left, &self.stream);
                        }
                    }
                    Ok(false) => {}
                    Err(Fault::Permanent(error)) => return Err(error),
                    Err(Fault::Transient(cause)) => {
                        self.outage.failed(&cause);
                        let _ = self.stop.run_until_cancelled(sleep(Duration::from_millis(100))).await;
                    }
                }
                self.trimmed.forget();
                self.progress.last = EntryId::default();
                self.progress.ahead.clear();
                Ok(None)
            }
        }
    }

    async fn deliver(&mut self, entries: Entries) {
        if !entries.list.is_empty() {
            self.hand_over(entries, 1).await;
        }
    }

    async fn hand_over(&mut self, entries: Entries, attempt: u32) {
        if self.progress.epoch.is_over() {
            // They are pending under our former name, and are taken over with its other entries.
            return;
        }
        if let Some(replaying) = self.replaying.clone() {
            return self.replay(&replaying, entries, attempt).await;
        }
        let Entries { bytes, spans, list, .. } = entries;
        let held = message::Entries { epoch: self.progress.epoch.clone(), origin: self.origin.clone(), list };
        self.intake.keep_entries(&self.channel, bytes, spans, held, attempt).await;
    }

    fn payload_field(&self) -> Option<&[u8]> {
        self.origin.payload_field()
    }
}

fn keep_unless<T>(list: &mut Vec<T>, left_out: &[bool]) {
    let mut left_out = left_out.iter();
    list.retain(|_| !left_out.next().copied().unwrap_or(false));
}

async fn stopped_long_ago(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(LAST_ANSWER).await;
}
