//! Scaling: the same group over clusters of more and more nodes.

use super::Bench;
use super::scenario::{Course, Scenario, ScenarioResult, begun, delivery, finished, last_append, soon};
use super::throughput::run;
use crate::bench::check::{self, Seen};
use crate::bench::cluster::Cluster;
use crate::bench::environment::Used;
use crate::bench::numbering::Numbering;
use crate::bench::part::protocol::{Command, Group, Load, OUTPUT, Order, Task, of_shard};
use crate::bench::processes::Part;
use crate::bench::report::Scaled;

/// The messages of one node: their numbers follow each other, and they go to its shards in turn.
struct Share {
    shards: Vec<u32>,
    first: u64,
    messages: u64,
}

impl Bench<'_> {
    /// One run over a new cluster of so many nodes.
    pub(super) async fn scaled(&mut self, name: &str, nodes: usize) -> anyhow::Result<Scaled> {
        let consumers = self.plan.consumers[0];
        let messages = self.plan.messages_for(consumers * self.plan.shards * nodes, self.cores);
        let scenario = Scenario { name, consumers, messages, rate: None };
        self.progress.step(name, messages);
        let mut cluster = Cluster::start(nodes).await?;
        let shares = shares(messages, cluster.shards(self.plan.shards).await?);
        let numbering = Numbering::new();
        let (group, course, used) = self.over_all_nodes(scenario, numbering, &mut cluster, &shares).await?;
        let result = self.counted(scenario, numbering, &mut cluster, &shares, group, course).await?;

        let mut run = run(scenario, &result);
        let busy: Vec<_> = used.iter().map(|used| used.busy(run.seconds)).collect();
        run.busy = busy.iter().sum::<f64>() / nodes as f64;
        let per_message = |nanoseconds: u64| nanoseconds as f64 / 1e3 / messages as f64;
        let scaled = Scaled {
            thread_cpu_us: result.last.thread.map(per_message),
            commits: result.last.commits,
            busy,
            run,
        };
        self.progress.done(format_args!("{name}: {}/s", self.progress.number(scaled.run.rate())));
        Ok(scaled)
    }

    /// Starts the group and a load for each node, and waits until everything is appended. Also tells what each node
    /// has used; in the course they are as one.
    async fn over_all_nodes(
        &mut self,
        scenario: Scenario<'_>,
        numbering: Numbering,
        cluster: &mut Cluster,
        shares: &[Share],
    ) -> anyhow::Result<(Part, Course, Vec<Used>)> {
        let all = shares.iter().flat_map(|share| share.shards.iter().copied()).collect();
        let place = cluster.nodes[0].place.clone();
        let task = Group { place, shards: all, ..self.group(scenario, numbering) };
        let mut group = self.processes.start("the group", &Task::Group(task)).await?;
        group.ready().await?;
        let mut loads = Vec::new();
        for (node, share) in cluster.nodes.iter().zip(shares) {
            let task = Load {
                place: node.place.clone(),
                shards: share.shards.clone(),
                first: share.first,
                messages: share.messages,
                rate: self.plan.rate,
                ..self.load(scenario, numbering, Command::ShardedPublish)
            };
            let mut load = self.processes.start("the load", &Task::Load(task)).await?;
            load.ready().await?;
            loads.push(load);
        }

        let before = cluster.usage().await?;
        let begin = soon();
        group.order(Order::Go { at: begin }).await?;
        let (_, cpu_before) = begun(&mut group).await?;
        for load in &mut loads {
            load.order(Order::Go { at: begin }).await?;
        }
        let (loaded, appended) = self.until_done(&mut group, &mut loads).await?;
        let after = cluster.usage().await?;
        let each: Vec<_> = before.iter().zip(&after).map(|(before, after)| before.until(after)).collect();
        let used = each.iter().copied().fold(Used::default(), Used::and);
        let first = loaded.first;
        Ok((group, Course { begin, first, loaded, appended, cpu_before, used }, each))
    }

    /// Ends the group, and looks at the output of each shard.
    async fn counted(
        &mut self,
        scenario: Scenario<'_>,
        numbering: Numbering,
        cluster: &mut Cluster,
        shares: &[Share],
        mut group: Part,
        course: Course,
    ) -> anyhow::Result<ScenarioResult> {
        let Course { begin, first, loaded, appended, cpu_before, used } = course;
        group.order(Order::Finish).await?;
        let finished = finished(&mut group).await?;
        self.progress.check();
        let mut seen = Seen::new(scenario.messages);
        for (node, share) in cluster.nodes.iter_mut().zip(shares) {
            for (place, shard) in share.shards.iter().enumerate() {
                let output = of_shard(OUTPUT, *shard);
                check::stream(node, &output, numbering, &mut seen, |number| share.has(number, place)).await?;
            }
        }
        let delivery = delivery(&finished, seen.found(), 0);
        self.say_what_was_lost(scenario.name, &delivery, &loaded, &finished);
        let last = last_append(appended, &finished)?;
        Ok(ScenarioResult { begin, first, loaded, last, cpu_before, used, finished, delivery })
    }
}

impl Share {
    /// Whether the message is one for the shard at this place.
    fn has(&self, number: u64, place: usize) -> bool {
        let turn = number.checked_sub(self.first).filter(|turn| *turn < self.messages);
        turn.is_some_and(|turn| turn % self.shards.len() as u64 == place as u64)
    }
}

/// All messages, in as equal shares as can be.
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
    fn each_message_is_of_one_shard_of_one_node() {
        let shares = shares(20, vec![vec![4, 9], vec![1, 2], vec![0, 3]]);
        assert_eq!(shares.iter().map(|share| share.messages).collect::<Vec<_>>(), [7, 7, 6]);
        for number in 0..25 {
            let places = shares.iter().flat_map(|share| [(share, 0), (share, 1)]);
            let count = places.filter(|(share, place)| share.has(number, *place)).count();
            assert_eq!(count, usize::from(number < 20), "{number}");
        }
    }
}
