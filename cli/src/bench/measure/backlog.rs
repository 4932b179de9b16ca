//! A backlog: a stream that is full before anyone reads it, moved by a group, or without one.

use anyhow::{Context, bail};
use redis::cmd;
use tokio::time::{Instant, sleep_until};

use super::Bench;
use super::scenario::{Course, Scenario, begun, loaded, soon};
use crate::bench::clock;
use crate::bench::numbering::Numbering;
use crate::bench::part::protocol::{
    Appended, Command, Event, Group, Loaded, Moved, OUTPUT, Order, Start, Task,
};
use crate::bench::processes::Part;
use crate::bench::report::Bare;

impl Bench<'_> {
    /// Fills the stream, and then starts the group, which is still there afterwards.
    pub(super) async fn move_backlog(
        &mut self,
        scenario: Scenario<'_>,
        numbering: Numbering,
    ) -> anyhow::Result<(Part, Course)> {
        let loaded = self.fill(scenario, numbering).await?;
        let task = Group { start: Start::WhenTold, ..self.group(scenario, numbering) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;
        group.ready().await?;

        let before = self.environment.usage().await?;
        group.order(Order::Go { at: soon() }).await?;
        let (begin, cpu_before) = begun(&mut group).await?;
        let appended = self.until_moved(&mut group).await?;
        let after = self.environment.usage().await?;
        let used = before.until(&after);
        Ok((group, Course { begin, first: begin, loaded, appended, cpu_before, used }))
    }

    /// The floor: what moving takes without a group.
    pub(super) async fn bare(&mut self, name: &str) -> anyhow::Result<Bare> {
        let scenario = Scenario { name, consumers: 0, messages: self.plan.messages, rate: None };
        self.progress.step(name, 2 * scenario.messages);
        self.fill(scenario, Numbering::new()).await?;
        self.progress.position(scenario.messages);
        let task = Task::Bare { place: self.environment.place.clone() };
        let mut mover = self.processes.start("the mover", &task).await?;
        mover.ready().await?;
        let before = self.environment.usage().await?;
        mover.order(Order::Go { at: soon() }).await?;
        let moved = moved(&mut mover).await?;
        let after = self.environment.usage().await?;
        let there: u64 = self.environment.ask(cmd("XLEN").arg(OUTPUT)).await?;
        self.environment.clear().await?;
        if (moved.messages, there) != (scenario.messages, scenario.messages) {
            bail!(
                "{} entries were moved and {there} are there, of {}: somebody else reads the bench's stream or appends \
                 to it; run one bench at a time",
                moved.messages,
                scenario.messages
            );
        }
        let (used, messages) = (before.until(&after), scenario.messages as f64);
        let seconds = clock::seconds(moved.first, moved.last);
        let bare = Bare {
            messages: scenario.messages,
            seconds,
            server_cpu_us: used.cpu_us / messages,
            mover_cpu_us: moved.cpu as f64 / 1e3 / messages,
            busy: used.busy(seconds),
        };
        self.progress.done(format_args!("{name}: {}/s", self.progress.number(bare.rate())));
        Ok(bare)
    }

    async fn fill(&mut self, scenario: Scenario<'_>, numbering: Numbering) -> anyhow::Result<Loaded> {
        let load = Task::Load(self.load(scenario, numbering, Command::Fill));
        let mut load = self.processes.start("the load", &load).await?;
        load.ready().await?;
        load.order(Order::Go { at: soon() }).await?;
        loaded(&mut load).await
    }

    /// Until everything is appended, or nothing more comes.
    async fn until_moved(&self, group: &mut Part) -> anyhow::Result<Option<Appended>> {
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                event = group.event() => match event? {
                    Event::Progress { messages } => {
                        heard = Instant::now();
                        self.progress.position(messages);
                    }
                    Event::Appended(all) => return Ok(Some(all)),
                    other => return Err(group.unexpected(&other)),
                },
                () = sleep_until(heard + self.plan.limit()) => return Ok(None),
            }
        }
    }
}

async fn moved(mover: &mut Part) -> anyhow::Result<Moved> {
    match mover.event().await.context("the stream was not moved without a group")? {
        Event::Moved(moved) => Ok(moved),
        other => Err(mover.unexpected(&other)),
    }
}
