//! The measurements, in an order in which noise hits everything alike.
//!
//! ```text
//!   limits      what could be reached at most
//!   backlog     a stream that is full before anyone reads it
//!   throughput  ┐
//!   latency     ┴─► scenario   a group, a load, the check of the stream
//!   scaling     the same over clusters, for each number of nodes
//!   spill       a burst that the buffer does not hold
//!   idle        a group without a load
//!   stuck       a group and a load, and the group's ledger in place of the stream
//! ```

mod backlog;
mod idle;
mod latency;
mod limits;
mod scaling;
mod scenario;
mod spill;
mod stuck;
mod throughput;

use super::environment::Environment;
use super::overflow::Overflow;
use super::plan::{Plan, Section};
use super::processes::Processes;
use super::progress::Progress;
use super::report::{Report, Run, Scaling, Spread, Throughput};
use super::source::Source;

/// What is measured, where, and by whom.
pub(crate) struct Bench<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) environment: &'a mut Environment,
    pub(crate) processes: &'a Processes,
    pub(crate) progress: &'a Progress,
    pub(crate) cores: usize,
}

impl Bench<'_> {
    /// Measures everything that the plan has, and puts it into the report.
    ///
    /// # Errors
    /// When a part of the bench fails, or the server does. A run that lost messages is none: it is in the report.
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
        report.throughput = consumers
            .iter()
            .map(|consumers| Throughput { consumers: *consumers, runs: Vec::new() })
            .collect();
        // A machine that is slow for a while is so for all of them.
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
            for throughput in &mut report.throughput {
                let consumers = throughput.consumers;
                let name = format!("throughput {consumers} consumers, run {run} of {runs}");
                throughput.runs.push(self.run_at_full_speed(&name, consumers).await?);
            }
        }
        for consumers in consumers {
            // The engine's memory is no stream.
            if self.plan.source == Source::Pubsub {
                report.engine_limit.push(self.engine_limit(*consumers).await);
            }
            if !self.plan.work.is_none() {
                report.work_limit.push(self.work_limit(*consumers).await?);
            }
        }
        Ok(())
    }

    async fn scaling(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Plan { nodes, shards, runs, .. } = self.plan;
        let of_size = |nodes: &usize| Scaling { nodes: *nodes, shards: nodes * shards, runs: Vec::new() };
        report.scaling = nodes.iter().map(of_size).collect();
        // A machine that is slow for a while is so for all of them.
        for run in 1..=*runs {
            let name = format!("the server alone, run {run} of {runs}");
            report.server_limit.push(self.server_limit(&name).await?);
            for scaling in &mut report.scaling {
                let nodes = scaling.nodes;
                let name = format!("scaling {nodes} nodes, run {run} of {runs}");
                scaling.runs.push(self.scaled(&name, nodes).await?);
            }
        }
        Ok(())
    }

    async fn latencies(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let consumers = self.plan.latency_consumers;
        let relative = self.plan.rates.iter().any(|rate| rate.is_relative());
        let measured = report.throughput.iter().find(|throughput| throughput.consumers == consumers);
        let most = match measured {
            Some(throughput) => Spread::of(throughput.runs.iter().map(Run::rate)).median,
            None if relative => {
                let name = format!("throughput {consumers} consumers, for the rates");
                self.run_at_full_speed(&name, consumers).await?.rate()
            }
            None => f64::NAN,
        };
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
                let name = format!("burst {consumers} consumers");
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
