//! Idling: a group of many consumers, and no message.

use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use super::Bench;
use super::scenario::{Scenario, finished};
use crate::bench::clock;
use crate::bench::numbering::Numbering;
use crate::bench::output::numbers;
use crate::bench::part::protocol::{Duty, Event, Group, Order, Task, Work};
use crate::bench::processes::Part;
use crate::bench::report::Idle;

impl Bench<'_> {
    /// Looks at a group that has nothing to do, for as long as the plan says.
    pub(super) async fn idle(&mut self) -> anyhow::Result<Idle> {
        /// What a start leaves to do is done by then.
        const SETTLING: Duration = Duration::from_secs(1);
        let consumers = self.plan.idle_consumers;
        let name = format!("idle {consumers} consumers");
        self.progress.step(&name, 0);
        let scenario = Scenario { name: &name, consumers, messages: 0, rate: None };
        // The processor that users get.
        let duty = Duty::Record(Work::default());
        let task = Group { duty, ..self.group(scenario, Numbering::new()) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;
        group.ready().await?;

        sleep(SETTLING).await;
        let (from, cpu_before) = look(&mut group).await?;
        sleep(self.plan.idle_time).await;
        let (to, cpu) = look(&mut group).await?;

        group.order(Order::Finish).await?;
        let finished = finished(&mut group).await?;
        self.environment.clear().await?;
        if finished.received > 0 {
            bail!(
                "the idle group received {} messages: somebody else publishes to the bench's channel; run one bench \
                 at a time",
                finished.received
            );
        }
        let idle = Idle {
            consumers,
            seconds: clock::seconds(from, to),
            cpu_seconds: clock::seconds(cpu_before, cpu),
            peak_memory: finished.peak_memory,
        };
        self.progress.done(format_args!(
            "{name}: {} of a core, {} of memory at most",
            numbers::fine_percent(idle.busy()),
            numbers::memory(idle.peak_memory)
        ));
        Ok(idle)
    }
}

/// The moment, and the CPU that the group's process has had by then, in ns.
async fn look(group: &mut Part) -> anyhow::Result<(u64, u64)> {
    group.order(Order::Look).await?;
    match group.event().await? {
        Event::Looked { at, cpu } => Ok((at, cpu)),
        other => Err(group.unexpected(&other)),
    }
}
