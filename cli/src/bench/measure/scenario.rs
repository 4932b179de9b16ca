//! One scenario: a group and its load, each in a process, and the check of the output.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep_until};

use super::Bench;
use crate::bench::check::{self, Found, Seen};
use crate::bench::environment::Used;
use crate::bench::numbering::Numbering;
use crate::bench::overflow::Overflow;
use crate::bench::processes::Process;
use crate::bench::report::Delivery;
use crate::bench::role::protocol::{
    Appended, Command, Event, Finished, Group, Load, Loaded, OUTPUT, Order, Processing, Start, Task,
};
use crate::bench::source::Source;
use crate::clock;
use crate::talk;

#[derive(Debug, Clone, Copy)]
pub(super) struct Scenario<'a> {
    /// For the progress line.
    pub(super) name: &'a str,
    pub(super) consumers: usize,
    pub(super) messages: u64,
    /// Messages a second. `None`: as fast as possible.
    pub(super) rate: Option<f64>,
}

/// What was measured while the group ran. Times and CPU are in ns.
pub(super) struct Measured {
    /// When the load was ordered to begin, or a backlog's group began to read.
    pub(super) begin: u64,
    /// When the first message was sent, or a backlog's group began to read.
    pub(super) first: u64,
    pub(super) loaded: Loaded,
    /// `None` unless everything was appended.
    pub(super) appended: Option<Appended>,
    /// CPU of the group's process before the first message.
    pub(super) cpu_before: u64,
    /// CPU of the server from before the first message to the last append.
    pub(super) used: Used,
}

/// The measurement, and the result of the check.
pub(super) struct ScenarioResult {
    pub(super) measured: Measured,
    /// The last append: that of the last message, unless any were lost.
    pub(super) last: Appended,
    pub(super) finished: Finished,
    pub(super) delivery: Delivery,
}

/// When a run is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// All messages are appended.
    Appended,
    /// This number of messages is received. None is ever appended.
    Received(u64),
}

impl Bench<'_> {
    /// Runs it, and removes all of its keys.
    pub(super) async fn scenario(&mut self, scenario: Scenario<'_>) -> anyhow::Result<ScenarioResult> {
        self.progress.step(scenario.name, scenario.messages);
        let numbering = Numbering::new();
        let (mut group, measured) = match (self.plan.source, scenario.rate) {
            (Source::Stream, None) => self.move_backlog(scenario, numbering).await?,
            _ => self.live(scenario, numbering).await?,
        };
        let finished = finish(&mut group).await?;
        self.progress.check();
        let mut seen = Seen::new(scenario.messages);
        check::stream(self.environment, OUTPUT, numbering, &mut seen, |_| true).await?;
        let pending = match (self.plan.source, self.plan.overflow) {
            (Source::Stream, _) => check::pending(self.environment).await?,
            (_, Overflow::Spill) => check::spilled(self.environment).await?,
            (_, Overflow::Drop) => 0,
        };
        self.environment.clear().await?;
        self.checked(scenario, measured, finished, seen.found(), pending)
    }

    /// Starts the group, then its load.
    async fn live(
        &mut self,
        scenario: Scenario<'_>,
        numbering: Numbering,
    ) -> anyhow::Result<(Process, Measured)> {
        let command = match self.plan.source {
            Source::Pubsub => Command::Publish,
            Source::Stream => Command::Fill,
            Source::Sharded => Command::ShardedPublish,
        };
        let group = Task::Group(self.group(scenario, numbering));
        let mut group = self.processes.start("the group", &group).await?;
        let load = Task::Load(self.load(scenario, numbering, command));
        let mut load = self.processes.start("the load", &load).await?;

        let before = self.environment.usage().await?;
        let begin = start_time();
        group.order(Order::Go { at: begin }).await?;
        let (_, cpu_before) = started(&mut group).await?;
        load.order(Order::Go { at: begin }).await?;
        let (loaded, appended) = self.until(Until::Appended, &mut group, loaded(&mut load)).await?;
        let used = before.until(&self.environment.usage().await?);
        let first = loaded.first;
        Ok((group, Measured { begin, first, loaded, appended, cpu_before, used }))
    }

    /// Adds the result of the check, and warns of lost messages.
    ///
    /// # Errors
    /// If nothing was appended at all.
    pub(super) fn checked(
        &self,
        scenario: Scenario<'_>,
        measured: Measured,
        finished: Finished,
        Found { lost, duplicated }: Found,
        pending: u64,
    ) -> anyhow::Result<ScenarioResult> {
        let delivery = Delivery { ledger: finished.ledger.clone(), lost, duplicated, pending };
        self.warn_of_losses(scenario.name, &delivery, &measured.loaded, &finished);
        let last = measured.appended.or(finished.last).context(
            "nothing was appended: either the server refuses records (is it out of memory, or read-only?), or the \
             group received no message; the server's log may say why",
        )?;
        Ok(ScenarioResult { measured, last, finished, delivery })
    }

    pub(super) fn load(&self, scenario: Scenario<'_>, numbering: Numbering, command: Command) -> Load {
        Load {
            endpoint: self.environment.endpoint.clone(),
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
            endpoint: self.environment.endpoint.clone(),
            source: self.plan.source,
            shards: Vec::new(),
            overflow: self.plan.overflow,
            start: Start::AtOnce,
            consumers: scenario.consumers,
            buffer: self.plan.buffer,
            max_payload: self.plan.payload_bytes.max(PAYLOAD).min(self.plan.buffer),
            processing: Processing::Record(self.plan.work),
            run: numbering.id(0),
            messages: scenario.messages,
            rate: scenario.rate,
        }
    }

    /// Waits until the load is done and the run is complete, or until nothing more happens.
    pub(super) async fn until(
        &self,
        complete: Until,
        group: &mut Process,
        loading: impl Future<Output = anyhow::Result<Loaded>>,
    ) -> anyhow::Result<(Loaded, Option<Appended>)> {
        const STANDSTILL: Duration = Duration::from_secs(60);
        let mut loading = pin!(loading);
        let (mut loaded, mut appended, mut received) = (None, None, 0);
        let mut active = Instant::now();
        loop {
            tokio::select! {
                done = &mut loading, if loaded.is_none() => (loaded, active) = (Some(done?), Instant::now()),
                event = group.event() => match event? {
                    Event::Progress { messages } => {
                        (received, active) = (messages, Instant::now());
                        self.progress.position(messages);
                    }
                    Event::Appended(all) => appended = Some(all),
                    other => return Err(group.unexpected(&other)),
                },
                () = sleep_until(active + self.plan.limit()), if loaded.is_some() => {
                    return loaded.map(|loaded| (loaded, None)).context("the load is done");
                }
                () = sleep_until(active + self.plan.limit() + STANDSTILL) => bail!(
                    "nothing was published or processed for a minute: the server seems to hang; check its log"
                ),
            }
            let is_complete = match complete {
                Until::Appended => appended.is_some(),
                Until::Received(all) => received >= all,
            };
            match &loaded {
                Some(loaded) if is_complete => return Ok((loaded.clone(), appended)),
                _ => {}
            }
        }
    }

    fn warn_of_losses(&self, name: &str, delivery: &Delivery, loaded: &Loaded, finished: &Finished) {
        if delivery.is_flawless() {
            return;
        }
        let Delivery { ledger, lost, duplicated, pending } = delivery;
        let why = match (ledger.gaps, finished.causes.last()) {
            (1.., Some(cause)) => disconnected(cause),
            _ if ledger.dropped > 0 => format!(
                "the group's buffer was full for {} messages: raise --buffer, or use fewer --messages",
                ledger.dropped
            ),
            _ if ledger.rejected > 0 => format!("{} were rejected", ledger.rejected),
            _ if ledger.abandoned > 0 => format!(
                "the server did not accept {} records: check whether it is out of memory or read-only (its log)",
                ledger.abandoned
            ),
            _ if loaded.undelivered > 0 => {
                format!("{} were published while nobody was subscribed", loaded.undelivered)
            }
            _ => "for an unknown reason; please report it".to_owned(),
        };
        let pending = match pending {
            0 => String::new(),
            pending => format!(", and {pending} entries are still pending"),
        };
        self.progress.above(|| {
            talk::say(format_args!(
                "warning: {name}: {lost} messages were lost and {duplicated} duplicated{pending}: {why}"
            ));
        });
    }
}

/// A time that all processes can still hear of in advance.
pub(super) fn start_time() -> u64 {
    clock::now() + 50_000_000
}

/// Explains a gap.
pub(super) fn disconnected(cause: &str) -> String {
    format!(
        "the group's connection broke ({cause}): if the server closed it, raise its client-output-buffer-limit pubsub, \
         or use fewer --messages"
    )
}

/// Waits until a load is done.
pub(super) async fn loaded(load: &mut Process) -> anyhow::Result<Loaded> {
    match load.event().await? {
        Event::Loaded(loaded) => Ok(loaded),
        other => Err(load.unexpected(&other)),
    }
}

/// When the group began, and its CPU by then.
pub(super) async fn started(group: &mut Process) -> anyhow::Result<(u64, u64)> {
    match group.event().await? {
        Event::Started { at, cpu } => Ok((at, cpu)),
        other => Err(group.unexpected(&other)),
    }
}

/// Ends a group.
pub(super) async fn finish(group: &mut Process) -> anyhow::Result<Finished> {
    /// Longer than a stop of the group may take.
    const LIMIT: Duration = Duration::from_secs(20);
    group.order(Order::Finish).await?;
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
