//! A stream, read through its consumer group; and the spill, which is read in the same way.
//!
//! ```text
//!   steward   keeps the tenure, looks who is dead, counts        (source/stream/steward.rs)
//!      │ estate: what the dead have left                         (source/stream/estate.rs)
//!   reader    takes over, reads, hands to the intake             (here)
//!      └ flow: how much the consumers can begin with soon        (source/stream/flow.rs)
//! ```

mod estate;
mod flow;
mod steward;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::estate::{Estate, Left};
use self::flow::Flow;
pub(crate) use self::steward::Steward;
use super::Source;
use crate::config::Begin;
use crate::entry_id::EntryId;
use crate::error::Error;
use crate::intake::Intake;
use crate::message::{self, Entry, Origin, Span};
use crate::redis::backoff::Backoff;
use crate::redis::registry::{Entries, Figures, Held, Inherited, Reader, Refusal, Registry, Unread};
use crate::redis::setback::Setback;
use crate::tenure::Tenure;

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
    estate: Arc<Estate>,
    begin: Begin,
    origin: Origin,
    stream: Arc<str>,
    /// Where messages say that they came from: of a spill, what they were published to.
    channel: Arc<str>,
}

impl Stream {
    /// The source that belongs to a steward that has joined. `reader` is connected. `channel` is where its messages
    /// say that they came from.
    pub(crate) fn new(
        reader: Reader,
        steward: &Steward,
        begin: Begin,
        origin: Origin,
        channel: &str,
    ) -> Self {
        let registry = steward.another_desk();
        let stream = registry.names.input.as_str().into();
        Self { reader, registry, estate: steward.estate(), begin, origin, stream, channel: channel.into() }
    }
}

impl Source for Stream {
    async fn run(self, intake: Intake, stop: CancellationToken) -> Result<(), Error> {
        let Self { reader, registry, estate, begin, origin, stream, channel } = self;
        let tenure = estate.tenure();
        let mut reading = Reading {
            reader,
            registry,
            estate,
            begin,
            origin,
            stream,
            channel,
            intake,
            stop: stop.clone(),
            flow: Flow::new(),
            figures: None,
            life: Life::new(tenure),
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
    estate: Arc<Estate>,
    begin: Begin,
    origin: Origin,
    stream: Arc<str>,
    channel: Arc<str>,
    intake: Intake,
    stop: CancellationToken,
    flow: Flow,
    /// As they were with the last read.
    figures: Option<Figures>,
    life: Life,
}

/// What belongs to one tenure.
struct Life {
    tenure: Arc<Tenure>,
    /// The last entry that was handed to us as a new one.
    last: EntryId,
    /// Entries beyond it that we took over: what is pending for us there is not all lost on its way.
    ahead: BTreeSet<EntryId>,
    /// Whether an answer may have been lost on its way.
    in_doubt: bool,
}

enum Step {
    Done,
    /// The group stops.
    Over,
}

impl Life {
    fn new(tenure: Arc<Tenure>) -> Self {
        Self { tenure, last: EntryId::default(), ahead: BTreeSet::new(), in_doubt: false }
    }
}

impl Reading {
    async fn step(&mut self) -> Result<Step, Error> {
        if self.life.tenure.is_over() {
            tokio::select! {
                tenure = self.estate.tenure_after(&self.life.tenure) => self.life = Life::new(tenure),
                () = self.stop.cancelled() => return Ok(Step::Over),
            }
        }
        if !self.reader.is_connected() {
            self.life.in_doubt = true;
            if let Step::Over = self.connect().await? {
                return Ok(Step::Over);
            }
        }
        if self.life.in_doubt {
            return self.recover().await;
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
        // The dead first: their entries have waited longest. No more at once than consumers can begin with now, for each
        // time that an entry is taken over counts as an attempt.
        if let Some(left) = self.estate.next() {
            return self.inherit(left, demand.idle.max(1).min(count)).await;
        }
        self.read(count.min(self.flow.fitting(MOST_BYTES))).await
    }

    async fn connect(&mut self) -> Result<Step, Error> {
        let mut backoff = Backoff::new();
        loop {
            match self.reader.connect().await {
                Ok(()) => return Ok(Step::Done),
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Passing(cause)) => tracing::debug!("cannot read {} yet: {cause}", self.stream),
            }
            tokio::select! {
                () = backoff.wait() => {}
                () = self.stop.cancelled() => return Ok(Step::Over),
            }
        }
    }

    /// Asks again for what was handed to us and did not reach us.
    async fn recover(&mut self) -> Result<Step, Error> {
        let answer = self.reader.history(&self.life.tenure, self.life.last, MOST_ENTRIES).await;
        let Some(mut entries) = self.answered(answer).await? else { return Ok(Step::Done) };
        let asked_again = entries.list.len() + entries.deleted.len();
        self.life.in_doubt = asked_again > 0;
        if let Some(last) =
            entries.list.iter().map(|entry| entry.id).chain(entries.deleted.iter().copied()).max()
        {
            self.life.last = last;
        }
        let ahead = std::mem::take(&mut self.life.ahead);
        let known: Vec<_> = entries.list.iter().map(|entry| ahead.contains(&entry.id)).collect();
        keep_unless(&mut entries.spans, &known);
        keep_unless(&mut entries.list, &known);
        self.life.ahead = ahead.into_iter().filter(|id| *id > self.life.last).collect();
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
            Err(Setback::Final(error)) => return Err(error),
            Err(Setback::Passing(cause)) => {
                tracing::debug!("{} entries that were deleted stay pending: {cause}", deleted.len())
            }
        }
        Ok(())
    }

    async fn read(&mut self, count: usize) -> Result<Step, Error> {
        let asked = self.reader.read(&self.life.tenure, count);
        let answer = tokio::select! {
            answer = asked => answer,
            () = stopped_long_ago(&self.stop) => return Ok(Step::Over),
        };
        let Some((figures, entries)) = self.answered(answer).await? else { return Ok(Step::Done) };
        self.look_for_trimmed(figures, entries.list.is_empty()).await;
        if !entries.list.is_empty() {
            self.received(entries).await;
            return Ok(Step::Done);
        }
        if self.stop.is_cancelled() {
            return Ok(Step::Over);
        }
        let asked = self.reader.wait(&self.life.tenure, count);
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
        let Some(last) = entries.list.last() else { return };
        self.life.last = last.id;
        if !self.life.ahead.is_empty() {
            self.life.ahead = self.life.ahead.split_off(&last.id);
        }
        self.flow.sizes(entries.bytes.len(), entries.list.len());
        self.deliver(entries).await;
    }

    /// Counts what was trimmed before anyone had read it. What is read next lies behind that.
    async fn look_for_trimmed(&mut self, figures: Figures, nothing_left: bool) {
        let earlier = self.figures.replace(figures);
        // In a spill entries are deleted by nobody but us.
        if matches!(self.origin, Origin::Spill) {
            return;
        }
        if earlier.is_some_and(|earlier| figures.may_have_trimmed_unread_since(&earlier)) {
            self.intake.trimmed(None, &self.stream);
        }
        let mut trimmed = figures.trimmed_unread();
        if trimmed > 0 && nothing_left {
            // Whoever of us comes first moves the group behind it, so that it is counted once.
            trimmed = self.registry.skip().await.unwrap_or(0);
        }
        if trimmed > 0 {
            self.intake.trimmed(Some(trimmed), &self.stream);
        }
    }

    /// What an answer means; `None` when there was none that can be used.
    async fn answered<T>(&mut self, answer: Result<T, Unread>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Unread::Final(error)) => Err(error),
            Err(Unread::Broken(cause)) => {
                tracing::debug!("cannot read {}: {cause}", self.stream);
                Ok(None)
            }
            Err(Unread::NoGroup(answer)) => {
                match self.registry.create_group(self.begin).await {
                    Ok(true) => self.intake.group_lost(&answer, &self.registry.names.group, &self.stream),
                    Ok(false) => {}
                    Err(Setback::Final(error)) => return Err(error),
                    Err(Setback::Passing(cause)) => {
                        tracing::debug!("cannot create the group yet: {cause}");
                        let _ = self.stop.run_until_cancelled(sleep(Duration::from_millis(100))).await;
                    }
                }
                self.figures = None;
                self.life.last = EntryId::default();
                self.life.ahead.clear();
                Ok(None)
            }
        }
    }

    /// Takes over some of what another consumer has left.
    async fn inherit(&mut self, left: Left, count: usize) -> Result<Step, Error> {
        let ids = match left.ids(count) {
            Some(ids) => ids,
            None => match self.registry.pending(Held::By(&left.holder), EntryId::default(), count).await {
                Ok(pending) => pending.into_iter().map(|pending| pending.id).collect(),
                Err(setback) => return self.put_off(left, setback).await,
            },
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
        // With the same ids until there is an answer: whether the last one was carried out is not known before.
        let mut backoff = Backoff::new();
        let inherited = loop {
            match self.registry.inherit(&self.life.tenure, &left.holder, left.idle, &ids).await {
                Ok(inherited) => break inherited,
                Err(Setback::Final(error)) => return Err(error),
                Err(Setback::Passing(cause)) if cause.starts_with("NOGROUP") => {
                    self.estate.settled(&left);
                    return Ok(Step::Done);
                }
                Err(Setback::Passing(cause)) => {
                    tracing::debug!("cannot take over from {} yet: {cause}", left.holder)
                }
            }
            tokio::select! {
                () = backoff.wait() => {}
                () = self.stop.cancelled() => return Ok(Step::Over),
            }
            if self.life.tenure.is_over() {
                return Ok(Step::Done);
            }
        };
        self.take_over(left, &ids, inherited).await;
        Ok(Step::Done)
    }

    async fn take_over(&mut self, left: Left, ids: &[EntryId], inherited: Inherited) {
        match inherited.refusal {
            Some(Refusal::Expelled) => return self.life.tenure.end("this process was taken for dead"),
            Some(Refusal::Lives) => return self.estate.settled(&left),
            None => {}
        }
        if left.process.is_none() {
            self.estate.took(&left, ids);
        }
        self.intake.deleted(inherited.deleted);
        self.intake.inherited(inherited.entries.len() as u64, &left.holder);
        for entry in inherited.entries {
            if entry.id > self.life.last {
                self.life.ahead.insert(entry.id);
            }
            let entries = Entries::of_one(entry.id, entry.encoded, entry.fields, self.payload_field());
            self.hand_over(entries, entry.attempt).await;
        }
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

    async fn deliver(&mut self, entries: Entries) {
        if !entries.list.is_empty() {
            self.hand_over(entries, 1).await;
        }
    }

    async fn hand_over(&mut self, entries: Entries, attempt: u32) {
        if self.life.tenure.is_over() {
            // They are pending for a name that is ours no more, and taken over with the others.
            return;
        }
        let Entries { bytes, spans, list, .. } = entries;
        let held = message::Entries { tenure: self.life.tenure.clone(), origin: self.origin.clone(), list };
        self.intake.keep_entries(&self.channel, bytes, spans, held, attempt).await;
    }

    fn payload_field(&self) -> Option<&[u8]> {
        match &self.origin {
            Origin::Input(name) => Some(name.as_bytes()),
            Origin::Spill => None,
        }
    }
}

impl Entries {
    /// One entry, from its encoded fields.
    fn of_one(id: EntryId, encoded: Vec<u8>, fields: u32, payload_field: Option<&[u8]>) -> Self {
        let payload = match crate::record::fields(&encoded, fields as usize).next() {
            Some((name, value)) if fields == 1 && payload_field.is_none_or(|field| field == name) => {
                Some(Bytes::copy_from_slice(value))
            }
            _ => None,
        };
        let (bytes, fields) = payload.map_or((encoded.into(), fields), |payload| (payload, 0));
        let spans = vec![Span { start: 0, len: u32::try_from(bytes.len()).unwrap_or(u32::MAX) }];
        Self { bytes, spans, list: vec![Entry { id, fields }], deleted: Vec::new() }
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
