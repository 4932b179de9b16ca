//! A backlog: a stream that is filled before it is moved, by a group or without one.

use std::future::ready;

use anyhow::bail;
use redis::cmd;

use super::Bench;
use super::scenario::{Measured, Scenario, Until, loaded, start_time, started};
use crate::bench::numbering::Numbering;
use crate::bench::output::numbers;
use crate::bench::processes::Process;
use crate::bench::report::Bare;
use crate::bench::role::protocol::{Command, Group, Loaded, OUTPUT, Order, Start, Task};
use crate::clock;

impl Bench<'_> {
    /// Fills the stream, then starts the group. Returns the group, which still runs.
    pub(super) async fn move_backlog(
        &mut self,
        scenario: Scenario<'_>,
        numbering: Numbering,
    ) -> anyhow::Result<(Process, Measured)> {
        let loaded = self.fill(scenario, numbering).await?;
        let task = Group { start: Start::WhenTold, ..self.group(scenario, numbering) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;

        let before = self.environment.usage().await?;
        group.order(Order::Go { at: start_time() }).await?;
        let (begin, cpu_before) = started(&mut group).await?;
        let (loaded, appended) = self.until(Until::Appended, &mut group, ready(Ok(loaded))).await?;
        let used = before.until(&self.environment.usage().await?);
        Ok((group, Measured { begin, first: begin, loaded, appended, cpu_before, used }))
    }

    /// Moves the stream without a group, for comparison.
    pub(super) async fn bare(&mut self, name: &str) -> anyhow::Result<Bare> {
        let messages = self.plan.messages;
        let scenario = Scenario { name, consumers: 0, messages, rate: None };
        self.progress.step(name, 2 * messages);
        self.fill(scenario, Numbering::new()).await?;
        self.progress.position(messages);
        let task = Task::Bare { endpoint: self.environment.endpoint.clone() };
        let mut mover = self.processes.start("the mover", &task).await?;
        let before = self.environment.usage().await?;
        mover.order(Order::Go { at: start_time() }).await?;
        let moved = loaded(&mut mover).await?;
        let used = before.until(&self.environment.usage().await?);
        let entries: u64 = self.environment.ask(cmd("XLEN").arg(OUTPUT)).await?;
        self.environment.clear().await?;
        if entries != messages {
            bail!(
                "the output has {entries} entries of {messages}: another client reads the bench's stream or appends to \
                 it; run one bench at a time"
            );
        }
        let seconds = clock::seconds(moved.first, moved.answered);
        let bare = Bare {
            messages,
            seconds,
            server_cpu_us: used.cpu_us / messages as f64,
            mover_cpu_us: moved.cpu as f64 / 1e3 / messages as f64,
            busy: used.busy(seconds),
        };
        self.progress.done(format_args!("{name}: {}/s", numbers::rate(messages as f64 / seconds)));
        Ok(bare)
    }

    async fn fill(&mut self, scenario: Scenario<'_>, numbering: Numbering) -> anyhow::Result<Loaded> {
        let load = Task::Load(self.load(scenario, numbering, Command::Fill));
        let mut load = self.processes.start("the load", &load).await?;
        load.order(Order::Go { at: start_time() }).await?;
        loaded(&mut load).await
    }
}
