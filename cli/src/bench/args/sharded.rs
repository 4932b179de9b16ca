//! The options of `bench --source sharded`.

use clap::Args;

use super::{BenchArgs, refuse, within};
use crate::bench::overflow::Overflow;
use crate::bench::plan::Section;
use crate::bench::rate::Rate;

/// The clusters, and the load of each node.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShardedArgs {
    /// With --source sharded: numbers of primaries of the clusters to measure
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,3", value_parser = nodes)]
    nodes: Vec<usize>,
    /// With --source sharded: shards per node
    #[arg(long, value_name = "N", default_value = "4", value_parser = shards)]
    pub(super) shards: usize,
    /// With --source sharded: messages per second to publish to each node [default: as many as possible]
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(super) rate: Option<f64>,
}

impl ShardedArgs {
    /// From the smallest cluster on, without repetitions.
    pub(super) fn nodes(&self) -> Vec<usize> {
        let mut nodes = self.nodes.clone();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

impl BenchArgs {
    /// # Errors
    /// If an option does not apply to shards.
    pub(super) fn check_sharded(&self) -> anyhow::Result<()> {
        if self.overflow == Overflow::Spill {
            refuse(
                "--overflow spill: bench does not measure the spill of shards; leave it out, or use --source pubsub",
            )?;
        }
        if self.only.iter().any(|section| *section != Section::Throughput) {
            refuse(
                "--only: --source sharded measures only throughput; leave it out, or use --source pubsub",
            )?;
        }
        if self.consumers.len() > 1 {
            refuse("--consumers: give one number, the consumers of each shard; only --nodes varies")?;
        }
        if self.baseline.is_some() || self.plot.is_some() {
            refuse(
                "--baseline and --plot compare numbers of consumers, but --source sharded numbers of nodes; leave them out",
            )?;
        }
        Ok(())
    }
}

fn nodes(text: &str) -> Result<usize, String> {
    within(text, 1..=100)
}

fn shards(text: &str) -> Result<usize, String> {
    within(text, 1..=1000)
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(Rate::Number(rate)) => Ok(rate),
        _ => {
            Err(format!("{text:?} is not a rate from 1 to 10000000 messages per second; write it like 50000"))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::bench::args::tests::{args, plan};
    use crate::bench::plan::Section;

    #[test]
    fn clusters_of_one_to_three_nodes_are_the_default() {
        let usual = plan("--source sharded");
        assert_eq!((&usual.sections[..], &usual.consumers[..]), (&[Section::Throughput][..], &[1][..]));
        assert_eq!((&usual.nodes[..], usual.shards, usual.rate), (&[1, 2, 3][..], 4, None));
        let given = plan("--source sharded --nodes 6,3,3 --shards 1 --rate 5000 --consumers 2");
        assert_eq!((&given.nodes[..], given.shards, given.rate), (&[3, 6][..], 1, Some(5000.0)));
        assert_eq!(given.consumers, [2]);
    }

    #[test]
    fn each_refusal_says_what_to_write_instead() {
        for (options, hint) in [
            ("--nodes 0", "from 1 to 100"),
            ("--shards 0", "from 1 to 1000"),
            ("--rate max", "write it like 50000"),
        ] {
            let error = args(options).unwrap_err();
            assert!(error.contains(hint), "{options}: {error}");
        }
        for (options, hint) in [
            ("--source sharded --overflow spill", "does not measure the spill"),
            ("--source sharded --only latency", "--source pubsub"),
            ("--source sharded --consumers 1,2", "give one number"),
            ("--source sharded --baseline a.json", "leave them out"),
        ] {
            let error = args(options).unwrap().plan().unwrap_err().to_string();
            assert!(error.contains(hint), "{options}: {error}");
        }
    }
}
