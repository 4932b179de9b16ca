//! A stream, read through its consumer group; and the spill, which is read in the same way.
//!
//! ```text
//!   membership   keeps the epoch, looks who is dead, counts     (source/stream/membership.rs)
//!      │ takeovers: which ones are due                          (source/stream/takeovers.rs)
//!   reader       reads, hands to the intake                     (here)
//!      ├ takeover: claims what a dead member held               (source/stream/takeover.rs)
//!      ├ replay: which rejected messages are processed again    (source/stream/replay.rs)
//!      └ flow: how much the consumers can begin with soon       (source/stream/flow.rs)
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

/// One read takes no more entries than this: they hold the server for a quarter of a millisecond.
const MOST_ENTRIES: usize = 256;
/// Nor about so many bytes.
const MOST_BYTES: usize = 1 << 20;
/// After a stop an answer that is under way is waited for so long. What it hands to us stays pending, for others.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// A stream whose group is there.
pub(crate) struct Stream {
    reader: Reader,
    registry: Registry,
    takeovers: Arc<Takeovers>,
    begin: Begin,
    origin: Origin,
    stream: Arc<str>,
    /// Where messages say that they came from: of a spill, what they were published to.
    channel: Arc<str>,
    /// Whether the stream is trimmed by us.
    trims: bool,
    /// Attempts to read that fail.
    outage: Outage,
    /// What is replayed of it, if it is that of rejected messages.
    replaying: Option<Arc<Replaying>>,
}

impl Stream {
    /// The source that belongs to a membership that has joined. `reader` is connected. `channel` is where its messages
    /// say that they came from.
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

    /// Replays this, and ends by itself.
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
    /// While nothing can be read: how long to wait before the next attempt.
    trouble: Option<Backoff>,
    /// Attempts to read that fail.
    outage: Outage,
    trimmed: Trimmed,
    replaying: Option<Arc<Replaying>>,
    progress: Progress,
}

/// What belongs to one epoch.
struct Progress {
    epoch: Arc<Epoch>,
    /// The last entry that was handed to us as a new one.
    last: EntryId,
    /// Entries beyond it that we took over: what is pending for us there is not all lost on its way.
    ahead: BTreeSet<EntryId>,
    /// Whether an answer may have been lost on its way.
    uncertain: bool,
    /// An entry that was taken over and may be what killed others, and since when it is ours.
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
        // The dead first: their entries have waited longest.
        if let Some(left) = self.takeovers.next()
            && !self.suspect_is_at_work().await
        {
            return self.take_over(left, count.min(self.flow.fitting(MOST_BYTES))).await;
        }
        self.read(count.min(self.flow.fitting(MOST_BYTES))).await
    }

    /// What comes before anything new is fetched: an epoch, a connection, and what was lost on its way. `None` when
    /// nothing of it is left to do.
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
        // What was acknowledged may be pending again, for a name that others do not touch.
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
                    // Whatever broke this connection has broken that one, as a rule.
                    self.registry.disconnect();
                    self.trimmed.distrust();
                    return Ok(Step::Done);
                }
                Ok(Former::MayBeHeard) => {
                    // What is handed to this name from now on is left to those who take over.
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

    /// Waits before the next attempt. Nothing is lost meanwhile: what is not read stays where it is.
    async fn put_up_with(&mut self, cause: &str) {
        let Some(backoff) = &mut self.trouble else {
            // At once the first time: a server closes connections that were idle, and that is no trouble.
            tracing::debug!("lost the connection that reads {}: {cause}; reconnecting", self.stream);
            self.trouble = Some(Backoff::at(self.reader.server()));
            return;
        };
        self.outage.failed(cause);
        let _ = self.stop.run_until_cancelled(backoff.wait()).await;
    }

    /// Asks again for what was handed to us and did not reach us.
    async fn recover(&mut self) -> Result<Step, Error> {
        let answer = self.reader.history(&self.progress.epoch, self.progress.last, MOST_ENTRIES).await;
        let Some(mut entries) = self.answered(answer).await? else { return Ok(Step::Done) };
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

    /// Acknowledges entries that are pending for us and of which nothing is left.
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
            // What was handed to us since is handed out once more: here it has to be dropped.
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

    /// What an answer means; `None` when there was none that can be used.
    async fn answered<T>(&mut self, answer: Result<T, Unread>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Unread::Permanent(error)) => Err(error),
            Err(Unread::Broken(cause)) => {
                self.put_up_with(&cause).await;
                Ok(None)
            }
            Err(Unread::NoGroup(answer)) if self.replaying.is_some() => {
                // What we hold would be handed out once more by another group.
                self.progress.epoch.end(&format!("the group of the replay was gone ({answer})"));
                Ok(None)
            }
            Err(Unread::NoGroup(answer)) => {
                match self.registry.create_group(self.begin).await {
                    Ok(true) => {
                        self.intake.group_lost(&answer, &self.registry.names.group, &self.stream);
                        if matches!(self.origin, Origin::Spill) {
                            // What was appended since it was deleted is there.
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
            // They are pending for a name that is ours no more, and taken over with the others.
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
