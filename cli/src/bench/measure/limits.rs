//! The limits: the server without a group, the engine without a server, the work without either.

use redis_consumer_group::internals::engine_limit;

use super::Bench;
use super::scenario::{Scenario, loaded, start_time};
use crate::bench::environment::Used;
use crate::bench::numbering::Numbering;
use crate::bench::output::numbers;
use crate::bench::report::{EngineLimit, ServerLimit, WorkLimit};
use crate::bench::role::frame_length;
use crate::bench::role::protocol::{Command, Event, Order, Task};
use crate::bench::statistics::Spread;
use crate::clock;

impl Bench<'_> {
    /// The server alone: pipelined PUBLISH to one idle subscriber, then pipelined XADD.
    pub(super) async fn server_limit(&mut self, name: &str) -> anyhow::Result<ServerLimit> {
        let messages = self.plan.messages;
        let scenario = Scenario { name, consumers: 0, messages, rate: None };
        self.progress.step(name, 2 * messages);
        let (publish_seconds, publishing) = self.publish(scenario).await?;
        self.progress.position(messages);
        let (xadd_seconds, appending) = self.append(scenario).await?;
        self.environment.clear().await?;
        let seconds = publish_seconds + xadd_seconds;
        let limit = ServerLimit {
            messages,
            seconds,
            publish_seconds,
            publish_cpu_us: publishing.cpu_us / messages as f64,
            xadd_cpu_us: appending.cpu_us / messages as f64,
            busy: publishing.and(appending).busy(seconds),
        };
        self.progress.done(format_args!("{name}: {}/s", numbers::rate(messages as f64 / seconds)));
        Ok(limit)
    }

    /// Seconds to the last reply or the last message read, whichever was later.
    async fn publish(&mut self, scenario: Scenario<'_>) -> anyhow::Result<(f64, Used)> {
        let bytes = scenario.messages * frame_length(self.plan.payload_bytes);
        let task = Task::Listen { endpoint: self.environment.endpoint.clone(), bytes };
        let mut listener = self.processes.start("the subscriber", &task).await?;
        let load = Task::Load(self.load(scenario, Numbering::new(), Command::Publish));
        let mut load = self.processes.start("the load", &load).await?;
        let before = self.environment.usage().await?;
        load.order(Order::Go { at: start_time() }).await?;
        let received = async {
            match listener.event().await? {
                Event::Received { at } => Ok(at),
                other => Err(listener.unexpected(&other)),
            }
        };
        let (loaded, received) = tokio::try_join!(loaded(&mut load), received)?;
        let used = before.until(&self.environment.usage().await?);
        Ok((clock::seconds(loaded.first, loaded.answered.max(received)), used))
    }

    async fn append(&mut self, scenario: Scenario<'_>) -> anyhow::Result<(f64, Used)> {
        let load = Task::Load(self.load(scenario, Numbering::new(), Command::Append));
        let mut load = self.processes.start("the load", &load).await?;
        let before = self.environment.usage().await?;
        load.order(Order::Go { at: start_time() }).await?;
        let loaded = loaded(&mut load).await?;
        let used = before.until(&self.environment.usage().await?);
        Ok((clock::seconds(loaded.first, loaded.answered), used))
    }

    /// The work alone, by as many tasks as there are consumers.
    pub(super) async fn work_limit(&mut self, consumers: usize) -> anyhow::Result<WorkLimit> {
        const SECONDS: f64 = 2.0;
        let name = format!("the work alone, {}", super::consumers_of(consumers));
        self.progress.step(&name, 0);
        let task = Task::Work { consumers, work: self.plan.work, seconds: SECONDS };
        let mut worker = self.processes.start("the work", &task).await?;
        let rate = match worker.event().await? {
            Event::Worked { rate } => rate,
            other => return Err(worker.unexpected(&other)),
        };
        self.progress.done(format_args!("{name}: {}/s", numbers::rate(rate)));
        Ok(WorkLimit { consumers, rate })
    }

    /// The engine from memory to memory, in as many runs as the plan has.
    pub(super) async fn engine_limit(&mut self, consumers: usize) -> Vec<EngineLimit> {
        let messages = self.plan.messages;
        let name = format!("the engine alone, {}", super::consumers_of(consumers));
        let mut limits = Vec::new();
        for run in 1..=self.plan.runs {
            self.progress.step(&format!("{name}, run {run} of {}", self.plan.runs), 0);
            let seconds = engine_limit(messages, consumers).await.as_secs_f64();
            limits.push(EngineLimit { consumers, messages, seconds });
        }
        let rate = messages as f64 / Spread::of(limits.iter().map(|limit| limit.seconds)).median;
        self.progress.done(format_args!("{name}: {}/s", numbers::rate(rate)));
        limits
    }
}
