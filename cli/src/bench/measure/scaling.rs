//! Scaling: the same group on clusters of different sizes.

use anyhow::Context;

use super::Bench;
use super::scenario::{Measured, Scenario, Until, finish, loaded, start_time, started};
use super::throughput::run;
use crate::bench::check::{self, Seen};
use crate::bench::cluster::Cluster;
use crate::bench::environment::Used;
use crate::bench::numbering::Numbering;
use crate::bench::output::numbers;
use crate::bench::processes::Process;
use crate::bench::report::{self, Run};
use crate::bench::role::protocol::{Command, Group, Load, Loaded, OUTPUT, Order, Task, of_shard};

/// The messages of one node. Their numbers are consecutive, and its shards get them in turn.
struct Share {
    shards: Vec<u32>,
    first: u64,
    messages: u64,
}

impl Bench<'_> {
    /// One run on a new cluster of this number of nodes.
    pub(super) async fn scaled(&mut self, name: &str, nodes: usize) -> anyhow::Result<Run> {
        let consumers = self.plan.consumers[0];
        let messages = self.plan.messages_for(consumers * self.plan.shards * nodes, self.cores);
        let scenario = Scenario { name, consumers, messages, rate: None };
        self.progress.step(name, messages);
        let mut cluster = Cluster::start(nodes).await?;
        let shares = shares(messages, cluster.shards(self.plan.shards).await?);
        let numbering = Numbering::new();
        let (mut group, measured, used) = self.on_cluster(scenario, numbering, &mut cluster, &shares).await?;
        let finished = finish(&mut group).await?;
        self.progress.check();
        let mut seen = Seen::new(messages);
        for (node, share) in cluster.nodes.iter_mut().zip(&shares) {
            for (place, shard) in share.shards.iter().enumerate() {
                let output = of_shard(OUTPUT, *shard);
                check::stream(node, &output, numbering, &mut seen, |number| share.has(number, place)).await?;
            }
        }
        let result = self.checked(scenario, measured, finished, seen.found(), 0)?;

        let run = run(scenario, &result);
        let busy: Vec<_> = used.iter().map(|used| used.busy(run.seconds)).collect();
        let run = Run {
            busy: busy.iter().sum::<f64>() / nodes as f64,
            cluster: Some(report::Cluster { nodes, shards: nodes * self.plan.shards, busy }),
            ..run
        };
        self.progress.done(format_args!("{name}: {}/s", numbers::rate(run.rate())));
        Ok(run)
    }

    /// Starts the group and a load for each node, and waits until everything is appended. Also returns the CPU of each
    /// node, of which the measurement has the sum.
    async fn on_cluster(
        &mut self,
        scenario: Scenario<'_>,
        numbering: Numbering,
        cluster: &mut Cluster,
        shares: &[Share],
    ) -> anyhow::Result<(Process, Measured, Vec<Used>)> {
        let all = shares.iter().flat_map(|share| share.shards.iter().copied()).collect();
        let endpoint = cluster.nodes[0].endpoint.clone();
        let task = Group { endpoint, shards: all, ..self.group(scenario, numbering) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;
        let mut loads = Vec::new();
        for (node, share) in cluster.nodes.iter().zip(shares) {
            let task = Load {
                endpoint: node.endpoint.clone(),
                shards: share.shards.clone(),
                first: share.first,
                messages: share.messages,
                rate: self.plan.rate,
                ..self.load(scenario, numbering, Command::ShardedPublish)
            };
            loads.push(self.processes.start("the load", &Task::Load(task)).await?);
        }

        let before = cluster.usage().await?;
        let begin = start_time();
        group.order(Order::Go { at: begin }).await?;
        let (_, cpu_before) = started(&mut group).await?;
        for load in &mut loads {
            load.order(Order::Go { at: begin }).await?;
        }
        let (loaded, appended) = self.until(Until::Appended, &mut group, all_loaded(&mut loads)).await?;
        let after = cluster.usage().await?;
        let each: Vec<_> = before.iter().zip(&after).map(|(before, after)| before.until(after)).collect();
        let used = each.iter().copied().fold(Used::default(), Used::and);
        let first = loaded.first;
        Ok((group, Measured { begin, first, loaded, appended, cpu_before, used }, each))
    }
}

/// Waits until all loads are done, and returns their result as that of one.
async fn all_loaded(loads: &mut [Process]) -> anyhow::Result<Loaded> {
    let (first, others) = loads.split_first_mut().context("a cluster without nodes")?;
    let mut all = loaded(first).await?;
    for load in others {
        all = all.and(&loaded(load).await?);
    }
    Ok(all)
}

impl Share {
    /// Whether the message is for the shard at this place.
    fn has(&self, number: u64, place: usize) -> bool {
        let turn = number.checked_sub(self.first).filter(|turn| *turn < self.messages);
        turn.is_some_and(|turn| turn % self.shards.len() as u64 == place as u64)
    }
}

/// All messages, in shares that are as equal as possible.
fn shares(messages: u64, nodes: Vec<Vec<u32>>) -> Vec<Share> {
    let count = nodes.len() as u64;
    let first = |node: u64| node * (messages / count) + node.min(messages % count);
    let nodes = nodes.into_iter().zip(0..);
    nodes
        .map(|(shards, node)| Share { shards, first: first(node), messages: first(node + 1) - first(node) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_is_for_one_shard_of_one_node() {
        let shares = shares(20, vec![vec![4, 9], vec![1, 2], vec![0, 3]]);
        assert_eq!(shares.iter().map(|share| share.messages).collect::<Vec<_>>(), [7, 7, 6]);
        for number in 0..25 {
            let places = shares.iter().flat_map(|share| [(share, 0), (share, 1)]);
            let count = places.filter(|(share, place)| share.has(number, *place)).count();
            assert_eq!(count, usize::from(number < 20), "{number}");
        }
    }
}
