//! Throughput and bursts: all messages at full speed.

use super::Bench;
use super::scenario::{Scenario, ScenarioResult};
use crate::bench::clock;
use crate::bench::report::Run;

impl Bench<'_> {
    /// One run with so many consumers.
    pub(super) async fn run_at_full_speed(&mut self, name: &str, consumers: usize) -> anyhow::Result<Run> {
        let messages = self.plan.messages_for(consumers, self.cores);
        let scenario = Scenario { name, consumers, messages, rate: None };
        let run = run(scenario, &self.scenario(scenario).await?);
        self.progress.done(format_args!("{name}: {}/s", self.progress.number(run.rate())));
        Ok(run)
    }
}

pub(super) fn run(scenario: Scenario<'_>, result: &ScenarioResult) -> Run {
    let ScenarioResult { first, loaded, last, cpu_before, used, finished, delivery, .. } = result;
    let messages = scenario.messages as f64;
    let seconds = clock::seconds(*first, last.at);
    Run {
        consumers: scenario.consumers,
        published: scenario.messages,
        seconds,
        publish_seconds: clock::seconds(loaded.first, loaded.answered),
        group_cpu_us: last.cpu.saturating_sub(*cpu_before) as f64 / 1e3 / messages,
        server_cpu_us: used.cpu_us / messages,
        load_cpu_us: loaded.cpu as f64 / 1e3 / messages,
        busy: used.busy(seconds),
        peak_memory: finished.peak_memory,
        delivery: delivery.clone(),
    }
}
