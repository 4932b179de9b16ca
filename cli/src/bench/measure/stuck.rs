//! A full buffer: a processor that never finishes, while messages come at full speed.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep_until};

use super::Bench;
use super::scenario::{Scenario, cut_off, finished, soon};
use crate::bench::clock;
use crate::bench::numbering::Numbering;
use crate::bench::output::numbers;
use crate::bench::part::protocol::{Command, Duty, Event, Finished, Group, Loaded, Order, Task};
use crate::bench::processes::Part;
use crate::bench::report::Stuck;
use crate::talk;

impl Bench<'_> {
    /// Publishes to a group that only receives, until it has received everything.
    pub(super) async fn stuck(&mut self) -> anyhow::Result<Stuck> {
        let consumers = self.plan.latency_consumers;
        let name = format!("stuck {consumers} consumers");
        let scenario = Scenario { name: &name, consumers, messages: self.plan.messages, rate: None };
        self.progress.step(&name, scenario.messages);
        let numbering = Numbering::new();
        let task = Group { duty: Duty::Never, ..self.group(scenario, numbering) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;
        group.ready().await?;
        let load = Task::Load(self.load(scenario, numbering, Command::Publish));
        let mut load = self.processes.start("the load", &load).await?;
        load.ready().await?;
        load.order(Order::Go { at: soon() }).await?;
        let loaded = self.until_received(&mut group, &mut load, scenario.messages).await?;
        group.order(Order::Finish).await?;
        let stuck = stuck(scenario, self.plan.buffer, &loaded, finished(&mut group).await?);
        self.environment.clear().await?;

        self.say_what_was_missed(&name, &stuck);
        self.progress.done(format_args!(
            "{name}: {} received, {} dropped, {} of memory at most",
            numbers::count(stuck.received),
            numbers::count(stuck.dropped),
            numbers::memory(stuck.peak_memory)
        ));
        Ok(stuck)
    }

    /// Until the load is done and everything is received, or nothing more comes.
    async fn until_received(
        &self,
        group: &mut Part,
        load: &mut Part,
        messages: u64,
    ) -> anyhow::Result<Loaded> {
        const STANDSTILL: Duration = Duration::from_secs(60);
        /// The group tells four times a second what it has received. No work is waited for.
        const TIMEOUT: Duration = Duration::from_secs(5);
        let (mut loaded, mut received) = (None, 0);
        let mut heard = Instant::now();
        loop {
            let limit = if loaded.is_some() { TIMEOUT } else { STANDSTILL };
            tokio::select! {
                event = load.event(), if loaded.is_none() => match event? {
                    Event::Loaded(done) => (loaded, heard) = (Some(done), Instant::now()),
                    other => return Err(load.unexpected(&other)),
                },
                event = group.event() => match event? {
                    Event::Progress { messages } => {
                        (received, heard) = (messages, Instant::now());
                        self.progress.position(messages);
                    }
                    other => return Err(group.unexpected(&other)),
                },
                () = sleep_until(heard + limit) => match loaded {
                    // What is missing now has fallen into a gap, or the ledger has a hole.
                    Some(loaded) => return Ok(loaded),
                    None => bail!(
                        "nothing was published or received for a minute: does the server stand still? Its log says why"
                    ),
                },
            }
            match loaded {
                Some(loaded) if received >= messages => return Ok(loaded),
                _ => {}
            }
        }
    }

    fn say_what_was_missed(&self, name: &str, stuck: &Stuck) {
        if stuck.missed() == 0 && stuck.gaps == 0 {
            return;
        }
        let why = match &stuck.cause {
            Some(cause) => cut_off(cause),
            None => "the group does not know why; please report it".to_owned(),
        };
        let missed = numbers::count(stuck.missed());
        self.progress.aside(|| {
            talk::say(format_args!("warning: {name}: {missed} messages never reached the group: {why}"));
        });
    }
}

fn stuck(scenario: Scenario<'_>, buffer: usize, loaded: &Loaded, finished: Finished) -> Stuck {
    Stuck {
        consumers: scenario.consumers,
        published: scenario.messages,
        publish_seconds: clock::seconds(loaded.first, loaded.answered),
        unheard: loaded.unheard,
        received: finished.received,
        processed: finished.processed,
        rejected: finished.rejected,
        dropped: finished.dropped,
        abandoned: finished.abandoned,
        gaps: finished.gaps,
        cause: finished.causes.into_iter().next_back(),
        buffer: buffer as u64,
        peak_memory: finished.peak_memory,
    }
}
