//! The measurements, in an order in which noise affects all of them alike.
//!
//! ```text
//!   limits      server, engine and work, each without the others
//!   throughput  ┐  runs at full speed, also bursts and spills
//!   latency     ┴─► scenario   a group, a load, the check of the output
//!   backlog     a stream that is filled before a group, or one connection, moves it
//!   scaling     a group on clusters of several sizes
//!   idle        a group without a load
//!   stuck       a group and a load; the group's ledger is checked, not the output
//! ```

mod backlog;
mod idle;
mod latency;
mod limits;
mod scaling;
mod scenario;
mod stuck;
mod throughput;

use super::environment::Environment;
use super::output::numbers;
use super::overflow::Overflow;
use super::plan::{Plan, Section};
use super::processes::Processes;
use super::progress::Progress;
use super::report::{Report, Run};
use super::source::Source;
use super::statistics::Spread;

/// The plan, and everything that the measurements use.
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) environment: &'a mut Environment,
    pub(crate) processes: &'a Processes,
    pub(crate) progress: &'a Progress,
    pub(crate) cores: usize,
}

impl Bench<'_> {
    /// Measures everything in the plan, and adds it to the report.
    ///
    /// # Errors
    /// If a child process or the server fails. Lost messages are not an error: they are in the report.
    pub(crate) async fn measure(mut self, report: &mut Report) -> anyhow::Result<()> {
        if self.plan.has(Section::Throughput) {
            match self.plan.source {
                Source::Sharded => self.scaling(report).await?,
                Source::Pubsub | Source::Stream => self.throughput(report).await?,
            }
        }
        if self.plan.has(Section::Latency) {
            self.latencies(report).await?;
        }
        if self.plan.has(Section::Burst) {
            self.burst(report).await?;
        }
        if self.plan.has(Section::Idle) {
            report.idle.push(self.idle().await?);
        }
        if self.plan.has(Section::Stuck) {
            report.stuck.push(self.stuck().await?);
        }
        Ok(())
    }

    async fn throughput(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Plan { consumers, runs, .. } = self.plan;
        // In turn, so that a machine that is slow for a while affects all alike.
        for run in 1..=*runs {
            match self.plan.source {
                Source::Stream => {
                    report.bare.push(self.bare(&format!("bare, run {run} of {runs}")).await?);
                }
                Source::Pubsub | Source::Sharded => {
                    let name = format!("the server alone, run {run} of {runs}");
                    report.server_limit.push(self.server_limit(&name).await?);
                }
            }
            for consumers in consumers {
                let name = format!("throughput {}, run {run} of {runs}", consumers_of(*consumers));
                report.throughput.push(self.run_at_full_speed(&name, *consumers).await?);
            }
        }
        for consumers in consumers {
            // The engine's limit from memory to memory does not apply to streams.
            if self.plan.source == Source::Pubsub {
                report.engine_limit.extend(self.engine_limit(*consumers).await);
            }
            if !self.plan.work.is_none() {
                report.work_limit.push(self.work_limit(*consumers).await?);
            }
        }
        Ok(())
    }

    async fn scaling(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Plan { nodes, runs, .. } = self.plan;
        // In turn, as above.
        for run in 1..=*runs {
            let name = format!("the server alone, run {run} of {runs}");
            report.server_limit.push(self.server_limit(&name).await?);
            for nodes in nodes {
                let name =
                    format!("scaling {}, run {run} of {runs}", numbers::counted(*nodes as u64, "node"));
                report.scaling.push(self.scaled(&name, *nodes).await?);
            }
        }
        Ok(())
    }

    async fn latencies(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let consumers = self.plan.latency_consumers;
        let measured = report.throughput.iter().filter(|run| run.consumers == consumers).map(Run::rate);
        let mut most = Spread::of(measured).median;
        if most.is_nan() && self.plan.rates.iter().any(|rate| rate.is_relative()) {
            let name = format!("throughput {}, for the rates", consumers_of(consumers));
            most = self.run_at_full_speed(&name, consumers).await?.rate();
        }
        for rate in &self.plan.rates {
            report.latency.push(self.latency(rate.at(most)).await?);
        }
        Ok(())
    }

    async fn burst(&mut self, report: &mut Report) -> anyhow::Result<()> {
        self.environment.restore_limit().await?;
        match self.plan.overflow {
            Overflow::Drop => {
                let consumers = self.plan.latency_consumers;
                let name = format!("burst {}", consumers_of(consumers));
                report.burst.push(self.run_at_full_speed(&name, consumers).await?);
            }
            Overflow::Spill => {
                for consumers in &self.plan.consumers {
                    report.spill.push(self.spill(*consumers).await?);
                }
            }
        }
        self.environment.lift_limit().await
    }
}

/// `1 consumer`, `4 consumers`.
fn consumers_of(count: usize) -> String {
    numbers::counted(count as u64, "consumer")
}
