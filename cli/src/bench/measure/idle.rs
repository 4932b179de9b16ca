//! Idle: a group of many consumers, without messages.

use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use super::Bench;
use super::scenario::{Scenario, finish};
use crate::bench::numbering::Numbering;
use crate::bench::output::numbers;
use crate::bench::processes::Process;
use crate::bench::report::Idle;
use crate::bench::role::protocol::{Event, Group, Order, Processing, Task, Work};
use crate::clock;

impl Bench<'_> {
    /// Observes a group that has nothing to do, for the time of the plan.
    pub(super) async fn idle(&mut self) -> anyhow::Result<Idle> {
        /// A start causes some more work until then.
        const SETTLING: Duration = Duration::from_secs(1);
        let consumers = self.plan.idle_consumers;
        let name = format!("idle {}", super::consumers_of(consumers));
        self.progress.step(&name, 0);
        let scenario = Scenario { name: &name, consumers, messages: 0, rate: None };
        // The default processor.
        let processing = Processing::Record(Work::default());
        let task = Group { processing, ..self.group(scenario, Numbering::new()) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;

        sleep(SETTLING).await;
        let (from, cpu_before) = cpu(&mut group).await?;
        sleep(self.plan.idle_time).await;
        let (to, cpu_after) = cpu(&mut group).await?;

        let finished = finish(&mut group).await?;
        self.environment.clear().await?;
        if finished.ledger.received > 0 {
            bail!(
                "the idle group received {} messages: another client publishes to the bench's channel; run one bench \
                 at a time",
                finished.ledger.received
            );
        }
        let idle = Idle {
            consumers,
            seconds: clock::seconds(from, to),
            cpu_seconds: clock::seconds(cpu_before, cpu_after),
            peak_memory: finished.peak_memory,
        };
        self.progress.done(format_args!(
            "{name}: {} of a core, peak memory {}",
            numbers::fine_percent(idle.busy()),
            numbers::memory(idle.peak_memory)
        ));
        Ok(idle)
    }
}

/// The time, and the CPU of the group's process by then, in ns.
async fn cpu(group: &mut Process) -> anyhow::Result<(u64, u64)> {
    group.order(Order::ReportCpu).await?;
    match group.event().await? {
        Event::Cpu { at, cpu } => Ok((at, cpu)),
        other => Err(group.unexpected(&other)),
    }
}
