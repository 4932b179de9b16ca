//! One scenario: a group in one process, its load from another one, and the check of what came of it.

use std::pin::pin;
use std::slice::from_mut;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep_until};

use super::Bench;
use crate::bench::check::{self, Found, Seen};
use crate::bench::clock;
use crate::bench::environment::Used;
use crate::bench::numbering::Numbering;
use crate::bench::overflow::Overflow;
use crate::bench::part::protocol::{
    Appended, Command, Duty, Event, Finished, Group, Load, Loaded, OUTPUT, Order, Start, Task,
};
use crate::bench::processes::Part;
use crate::bench::report::Delivery;
use crate::bench::source::Source;
use crate::talk;

/// What a group is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario<'a> {
    /// What it is, for who watches.
    pub(super) name: &'a str,
    pub(super) consumers: usize,
    pub(super) messages: u64,
    /// Messages a second; without it, as fast as they can be published.
    pub(super) rate: Option<f64>,
}

/// How it went, before anyone has looked at what came of it.
pub(super) struct Course {
    pub(super) begin: u64,
    pub(super) first: u64,
    pub(super) loaded: Loaded,
    /// The last append, where everything is appended.
    pub(super) appended: Option<Appended>,
    pub(super) cpu_before: u64,
    pub(super) used: Used,
}

/// What came of it.
pub(super) struct ScenarioResult {
    /// When the load was told to begin; a backlog has been there before.
    pub(super) begin: u64,
    /// When the first message was sent, or the group began to read a backlog.
    pub(super) first: u64,
    pub(super) loaded: Loaded,
    /// The last append: that of the last message, where none was lost.
    pub(super) last: Appended,
    /// CPU of the group's process before the first message, in ns.
    pub(super) cpu_before: u64,
    /// The server, from before the first message to the last append.
    pub(super) used: Used,
    pub(super) finished: Finished,
    pub(super) delivery: Delivery,
}

impl Bench<'_> {
    /// Runs it, and leaves nothing in the server.
    pub(super) async fn scenario(&mut self, scenario: Scenario<'_>) -> anyhow::Result<ScenarioResult> {
        self.progress.step(scenario.name, scenario.messages);
        let numbering = Numbering::new();
        let (group, course) = match (self.plan.source, scenario.rate) {
            (Source::Stream, None) => self.move_backlog(scenario, numbering).await?,
            _ => self.live(scenario, numbering).await?,
        };
        self.conclude(scenario, numbering, group, course).await
    }

    /// Starts the group, and loads it.
    async fn live(&mut self, scenario: Scenario<'_>, numbering: Numbering) -> anyhow::Result<(Part, Course)> {
        let command = match self.plan.source {
            Source::Pubsub => Command::Publish,
            Source::Stream => Command::Fill,
            Source::Sharded => Command::ShardedPublish,
        };
        let mut group =
            self.processes.start("the group", &Task::Group(self.group(scenario, numbering))).await?;
        group.ready().await?;
        let load = Task::Load(self.load(scenario, numbering, command));
        let mut load = self.processes.start("the load", &load).await?;
        load.ready().await?;

        let before = self.environment.usage().await?;
        let begin = soon();
        group.order(Order::Go { at: begin }).await?;
        let (_, cpu_before) = begun(&mut group).await?;
        load.order(Order::Go { at: begin }).await?;
        let (loaded, appended) = self.until_done(&mut group, from_mut(&mut load)).await?;
        let after = self.environment.usage().await?;
        let (first, used) = (loaded.first, before.until(&after));
        Ok((group, Course { begin, first, loaded, appended, cpu_before, used }))
    }

    /// Ends the group, looks at what came of it, and removes that.
    async fn conclude(
        &mut self,
        scenario: Scenario<'_>,
        numbering: Numbering,
        mut group: Part,
        course: Course,
    ) -> anyhow::Result<ScenarioResult> {
        let Course { begin, first, loaded, appended, cpu_before, used } = course;
        group.order(Order::Finish).await?;
        let finished = finished(&mut group).await?;
        self.progress.check();
        let mut seen = Seen::new(scenario.messages);
        check::stream(self.environment, OUTPUT, numbering, &mut seen, |_| true).await?;
        let pending = match (self.plan.source, self.plan.overflow) {
            (Source::Stream, _) => check::pending(self.environment).await?,
            (_, Overflow::Spill) => check::spilled(self.environment).await?,
            (_, Overflow::Drop) => 0,
        };
        self.environment.clear().await?;

        let delivery = delivery(&finished, seen.found(), pending);
        self.say_what_was_lost(scenario.name, &delivery, &loaded, &finished);
        let last = last_append(appended, &finished)?;
        Ok(ScenarioResult { begin, first, loaded, last, cpu_before, used, finished, delivery })
    }

    pub(super) fn load(&self, scenario: Scenario<'_>, numbering: Numbering, command: Command) -> Load {
        Load {
            place: self.environment.place.clone(),
            command,
            shards: Vec::new(),
            run: numbering.id(0),
            first: 0,
            messages: scenario.messages,
            payload_bytes: self.plan.payload_bytes,
            rate: scenario.rate,
        }
    }

    pub(super) fn group(&self, scenario: Scenario<'_>, numbering: Numbering) -> Group {
        /// The library's default.
        const PAYLOAD: usize = 1 << 20;
        Group {
            place: self.environment.place.clone(),
            source: self.plan.source,
            shards: Vec::new(),
            overflow: self.plan.overflow,
            start: Start::AtOnce,
            consumers: scenario.consumers,
            buffer: self.plan.buffer,
            max_payload: self.plan.payload_bytes.max(PAYLOAD).min(self.plan.buffer),
            duty: Duty::Record(self.plan.work),
            run: numbering.id(0),
            messages: scenario.messages,
            rate: scenario.rate,
        }
    }

    /// Until all loads are done and everything is appended, or nothing more comes.
    pub(super) async fn until_done(
        &self,
        group: &mut Part,
        loads: &mut [Part],
    ) -> anyhow::Result<(Loaded, Option<Appended>)> {
        const STANDSTILL: Duration = Duration::from_secs(60);
        let mut loading = pin!(all_loaded(loads));
        let (mut loaded, mut appended) = (None, None);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                done = &mut loading, if loaded.is_none() => (loaded, heard) = (Some(done?), Instant::now()),
                event = group.event() => match event? {
                    Event::Progress { messages } => {
                        heard = Instant::now();
                        self.progress.position(messages);
                    }
                    Event::Appended(all) => appended = Some(all),
                    other => return Err(group.unexpected(&other)),
                },
                () = sleep_until(heard + self.plan.limit()), if loaded.is_some() => {
                    return loaded.map(|loaded| (loaded, None)).context("the load is done");
                }
                () = sleep_until(heard + self.plan.limit() + STANDSTILL) => bail!(
                    "nothing was published or appended for a minute: does the server stand still? Its log says why"
                ),
            }
            if let (Some(loaded), Some(appended)) = (&loaded, appended) {
                return Ok((loaded.clone(), Some(appended)));
            }
        }
    }

    pub(super) fn say_what_was_lost(
        &self,
        name: &str,
        delivery: &Delivery,
        loaded: &Loaded,
        finished: &Finished,
    ) {
        if delivery.is_flawless() {
            return;
        }
        let why = match (delivery.gaps, finished.causes.last()) {
            (1.., Some(cause)) => cut_off(cause),
            _ if delivery.dropped > 0 => {
                format!(
                    "{} found the buffer of the group full: raise --buffer, or take fewer --messages",
                    delivery.dropped
                )
            }
            _ if delivery.rejected > 0 => format!("{} were rejected", delivery.rejected),
            _ if delivery.abandoned > 0 => format!(
                "{} were received, and the server did not take them: is it out of memory, or read-only? Its log says so",
                delivery.abandoned
            ),
            _ if loaded.unheard > 0 => {
                format!("{} were published while nobody was subscribed", loaded.unheard)
            }
            _ => "the group does not know why; please report it".to_owned(),
        };
        let Delivery { lost, duplicated, pending, .. } = delivery;
        let pending = match pending {
            0 => String::new(),
            pending => format!(", and {pending} entries are not done"),
        };
        self.progress.aside(|| {
            talk::say(format_args!(
                "warning: {name}: {lost} messages were lost and {duplicated} duplicated{pending}: {why}"
            ));
        });
    }
}

/// A moment by which everyone knows of it.
pub(super) fn soon() -> u64 {
    clock::now() + 50_000_000
}

/// What to say of a gap.
pub(super) fn cut_off(cause: &str) -> String {
    format!(
        "the connection of the group broke ({cause}): if the server cut it off, raise its \
         client-output-buffer-limit pubsub, or take fewer --messages"
    )
}

/// What the ledger says, and what the streams do.
pub(super) fn delivery(finished: &Finished, found: Found, pending: u64) -> Delivery {
    Delivery {
        received: finished.received,
        processed: finished.processed,
        rejected: finished.rejected,
        dropped: finished.dropped,
        abandoned: finished.abandoned,
        gaps: finished.gaps,
        lost: found.lost,
        duplicated: found.duplicated,
        pending,
    }
}

/// The last append, of whatever came through.
pub(super) fn last_append(all: Option<Appended>, finished: &Finished) -> anyhow::Result<Appended> {
    all.or(finished.last).context(
        "nothing was appended: either the server takes no records (is it out of memory, or read-only?), or the \
         group heard none of the messages; the server's log may say why",
    )
}

/// Waits until all loads are done, and tells of them as of one.
async fn all_loaded(loads: &mut [Part]) -> anyhow::Result<Loaded> {
    let mut all: Option<Loaded> = None;
    for load in loads {
        let one = loaded(load).await?;
        all = Some(all.map_or(one.clone(), |all| all.and(&one)));
    }
    all.context("there is no load; please report it")
}

/// Waits until a load is done.
pub(super) async fn loaded(load: &mut Part) -> anyhow::Result<Loaded> {
    match load.event().await? {
        Event::Loaded(loaded) => Ok(loaded),
        other => Err(load.unexpected(&other)),
    }
}

/// When the group began, and what CPU it had had by then.
pub(super) async fn begun(group: &mut Part) -> anyhow::Result<(u64, u64)> {
    match group.event().await? {
        Event::Begun { at, cpu } => Ok((at, cpu)),
        other => Err(group.unexpected(&other)),
    }
}

/// Waits for the end of a group that was told to finish.
pub(super) async fn finished(group: &mut Part) -> anyhow::Result<Finished> {
    /// As long as a stop of the group may take, and some more.
    const LIMIT: Duration = Duration::from_secs(20);
    let waiting = async {
        loop {
            match group.event().await? {
                Event::Finished(finished) => return Ok(*finished),
                Event::Progress { .. } | Event::Appended(_) => {}
                other => return Err(group.unexpected(&other)),
            }
        }
    };
    match tokio::time::timeout(LIMIT, waiting).await {
        Ok(finished) => finished,
        Err(_) => bail!("the group does not end; please report it"),
    }
}
