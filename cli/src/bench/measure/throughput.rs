//! Runs at full speed: throughput, bursts, and bursts with a spill.

use super::Bench;
use super::scenario::{Scenario, ScenarioResult};
use crate::bench::output::numbers;
use crate::bench::report::Run;
use crate::clock;

impl Bench<'_> {
    /// One run. With work, it has fewer messages, so that it takes a few seconds.
    pub(super) async fn run_at_full_speed(&mut self, name: &str, consumers: usize) -> anyhow::Result<Run> {
        let messages = self.plan.messages_for(consumers, self.cores);
        let scenario = Scenario { name, consumers, messages, rate: None };
        let run = run(scenario, &self.scenario(scenario).await?);
        self.progress.done(format_args!("{name}: {}/s", numbers::rate(run.rate())));
        Ok(run)
    }

    /// A burst of all messages, until the last spilled one is in the output.
    pub(super) async fn spill(&mut self, consumers: usize) -> anyhow::Result<Run> {
        let name = format!("burst with a spill, {}", super::consumers_of(consumers));
        let scenario = Scenario { name: &name, consumers, messages: self.plan.messages, rate: None };
        let run = run(scenario, &self.scenario(scenario).await?);
        self.progress.done(format_args!(
            "{name}: {} spilled, all in the output after {}",
            numbers::count(run.delivery.ledger.spilled),
            numbers::seconds(run.seconds)
        ));
        Ok(run)
    }
}

pub(super) fn run(scenario: Scenario<'_>, result: &ScenarioResult) -> Run {
    let ScenarioResult { measured, last, finished, delivery } = result;
    let per_message = |nanoseconds: u64| nanoseconds as f64 / 1e3 / scenario.messages as f64;
    let seconds = clock::seconds(measured.first, last.at);
    Run {
        consumers: scenario.consumers,
        messages: scenario.messages,
        seconds,
        publish_seconds: clock::seconds(measured.loaded.first, measured.loaded.answered),
        group_cpu_us: per_message(last.cpu.saturating_sub(measured.cpu_before)),
        thread_cpu_us: last.thread.map(per_message),
        server_cpu_us: measured.used.cpu_us / scenario.messages as f64,
        load_cpu_us: per_message(measured.loaded.cpu),
        busy: measured.used.busy(seconds),
        commits: last.commits,
        peak_memory: finished.peak_memory,
        delivery: delivery.clone(),
        cluster: None,
    }
}
