//! A full buffer: a processor that never finishes, while messages come at full speed.

use super::Bench;
use super::scenario::{Scenario, Until, disconnected, finish, loaded, start_time};
use crate::bench::numbering::Numbering;
use crate::bench::output::numbers;
use crate::bench::report::Stuck;
use crate::bench::role::protocol::{Command, Group, Order, Processing, Task};
use crate::clock;
use crate::talk;

impl Bench<'_> {
    /// Publishes to a group that only receives, until it has received everything.
    pub(super) async fn stuck(&mut self) -> anyhow::Result<Stuck> {
        let consumers = self.plan.latency_consumers;
        let name = format!("stuck {}", super::consumers_of(consumers));
        let scenario = Scenario { name: &name, consumers, messages: self.plan.messages, rate: None };
        self.progress.step(&name, scenario.messages);
        let numbering = Numbering::new();
        let task = Group { processing: Processing::Never, ..self.group(scenario, numbering) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;
        let load = Task::Load(self.load(scenario, numbering, Command::Publish));
        let mut load = self.processes.start("the load", &load).await?;
        load.order(Order::Go { at: start_time() }).await?;
        let received = Until::Received(scenario.messages);
        let (loaded, _) = self.until(received, &mut group, loaded(&mut load)).await?;
        let finished = finish(&mut group).await?;
        self.environment.clear().await?;

        let stuck = Stuck {
            consumers,
            messages: scenario.messages,
            publish_seconds: clock::seconds(loaded.first, loaded.answered),
            undelivered: loaded.undelivered,
            ledger: finished.ledger,
            cause: finished.causes.into_iter().next_back(),
            peak_memory: finished.peak_memory,
        };
        self.warn_of_missed(&name, &stuck);
        self.progress.done(format_args!(
            "{name}: {} received, {} dropped, peak memory {}",
            numbers::count(stuck.ledger.received),
            numbers::count(stuck.ledger.dropped),
            numbers::memory(stuck.peak_memory)
        ));
        Ok(stuck)
    }

    fn warn_of_missed(&self, name: &str, stuck: &Stuck) {
        if stuck.missed() == 0 && stuck.ledger.gaps == 0 {
            return;
        }
        let why = match &stuck.cause {
            Some(cause) => disconnected(cause),
            None => "for an unknown reason; please report it".to_owned(),
        };
        let missed = numbers::count(stuck.missed());
        self.progress.above(|| {
            talk::say(format_args!("warning: {name}: {missed} messages never reached the group: {why}"));
        });
    }
}
