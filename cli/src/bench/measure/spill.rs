//! A burst with a small buffer: what it does not hold goes into the spill, and comes back.

use super::Bench;
use super::scenario::Scenario;
use super::throughput::run;
use crate::bench::output::numbers;
use crate::bench::report::Spill;

impl Bench<'_> {
    /// All messages at once, whatever their work takes, until the last one that was spilled is in the output.
    pub(super) async fn spill(&mut self, consumers: usize) -> anyhow::Result<Spill> {
        let name = format!("burst with a spill, {consumers} consumers");
        let scenario = Scenario { name: &name, consumers, messages: self.plan.messages, rate: None };
        let result = self.scenario(scenario).await?;
        let finished = &result.finished;
        let spill = Spill {
            run: run(scenario, &result),
            buffer: self.plan.buffer as u64,
            spilled: finished.spilled,
            drained: finished.drained,
            most: finished.most_in_spill,
        };
        self.progress.done(format_args!(
            "{name}: {} spilled, all in the output after {}",
            numbers::count(spill.spilled),
            numbers::seconds(spill.run.seconds)
        ));
        Ok(spill)
    }
}
