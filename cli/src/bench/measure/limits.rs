//! What could be reached at most: by the server without a group, by the engine without a server, by the work
//! without either.

use redis_consumer_group::internals::engine_limit;

use super::Bench;
use super::scenario::{Scenario, loaded, soon};
use crate::bench::clock;
use crate::bench::environment::Used;
use crate::bench::numbering::Numbering;
use crate::bench::part::frame_length;
use crate::bench::part::protocol::{Command, Event, Order, Task};
use crate::bench::report::{EngineLimit, ServerLimit, Spread, WorkLimit};

impl Bench<'_> {
    /// The server alone: pipelined PUBLISH to one idle subscriber, and then pipelined XADD.
    pub(super) async fn server_limit(&mut self, name: &str) -> anyhow::Result<ServerLimit> {
        let messages = self.plan.messages;
        let scenario = Scenario { name, consumers: 0, messages, rate: None };
        self.progress.step(name, 2 * messages);
        let (publish_seconds, publishing) = self.publish(scenario).await?;
        self.progress.position(messages);
        let (xadd_seconds, appending) = self.append(scenario).await?;
        self.environment.clear().await?;
        let limit = ServerLimit {
            messages,
            publish_seconds,
            publish_cpu_us: publishing.cpu_us / messages as f64,
            xadd_seconds,
            xadd_cpu_us: appending.cpu_us / messages as f64,
            busy: publishing.and(appending).busy(publish_seconds + xadd_seconds),
        };
        self.progress.done(format_args!("{name}: {}/s", self.progress.number(limit.rate())));
        Ok(limit)
    }

    /// Seconds to the last reply and the last message read, whichever came later.
    async fn publish(&mut self, scenario: Scenario<'_>) -> anyhow::Result<(f64, Used)> {
        let bytes = scenario.messages * frame_length(self.plan.payload_bytes);
        let task = Task::Listen { place: self.environment.place.clone(), bytes };
        let mut listener = self.processes.start("the subscriber", &task).await?;
        listener.ready().await?;
        let load = Task::Load(self.load(scenario, Numbering::new(), Command::Publish));
        let mut load = self.processes.start("the load", &load).await?;
        load.ready().await?;
        let before = self.environment.usage().await?;
        load.order(Order::Go { at: soon() }).await?;
        let heard = async {
            match listener.event().await? {
                Event::Heard { at } => Ok(at),
                other => Err(listener.unexpected(&other)),
            }
        };
        let (loaded, heard) = tokio::try_join!(loaded(&mut load), heard)?;
        let after = self.environment.usage().await?;
        Ok((clock::seconds(loaded.first, loaded.answered.max(heard)), before.until(&after)))
    }

    async fn append(&mut self, scenario: Scenario<'_>) -> anyhow::Result<(f64, Used)> {
        let load = Task::Load(self.load(scenario, Numbering::new(), Command::Append));
        let mut load = self.processes.start("the load", &load).await?;
        load.ready().await?;
        let before = self.environment.usage().await?;
        load.order(Order::Go { at: soon() }).await?;
        let loaded = loaded(&mut load).await?;
        let after = self.environment.usage().await?;
        Ok((clock::seconds(loaded.first, loaded.answered), before.until(&after)))
    }

    /// The work alone, by as many tasks as there are consumers.
    pub(super) async fn work_limit(&mut self, consumers: usize) -> anyhow::Result<WorkLimit> {
        const SECONDS: f64 = 2.0;
        let name = format!("the work alone, {consumers} consumers");
        self.progress.step(&name, 0);
        let task = Task::Work { consumers, work: self.plan.work, seconds: SECONDS };
        let mut part = self.processes.start("the work", &task).await?;
        let rate = match part.event().await? {
            Event::Worked { rate } => rate,
            other => return Err(part.unexpected(&other)),
        };
        self.progress.done(format_args!("{name}: {}/s", self.progress.number(rate)));
        Ok(WorkLimit { consumers, rate })
    }

    /// The engine between memory and memory.
    pub(super) async fn engine_limit(&mut self, consumers: usize) -> EngineLimit {
        let messages = self.plan.messages;
        let mut seconds = Vec::new();
        for run in 1..=self.plan.runs {
            let name = format!("the engine alone, {consumers} consumers, run {run} of {}", self.plan.runs);
            self.progress.step(&name, 0);
            seconds.push(engine_limit(messages, consumers).await.as_secs_f64());
        }
        let limit = EngineLimit { consumers, messages, seconds };
        let name = format!("the engine alone, {consumers} consumers");
        let rate = messages as f64 / Spread::of(limit.seconds.iter().copied()).median;
        self.progress.done(format_args!("{name}: {}/s", self.progress.number(rate)));
        limit
    }
}
