//! What to measure: plain data, made from the options.

use std::time::Duration;

use super::overflow::Overflow;
use super::rate::Rate;
use super::role::protocol::Work;
use super::source::Source;

/// One kind of measurement. The first line of each is its help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Section {
    /// Messages per second, for each number of consumers
    Throughput,
    /// The time from publishing to the output, at each rate
    Latency,
    /// All messages at once, at the server's own limits
    Burst,
    /// The cost of a group that has nothing to do
    Idle,
    /// The memory of a group whose processor never finishes
    Stuck,
}

/// What to measure, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) sections: Vec<Section>,
    pub(crate) source: Source,
    pub(crate) overflow: Overflow,
    pub(crate) consumers: Vec<usize>,
    /// With a sharded source: the numbers of primaries of the clusters.
    pub(crate) nodes: Vec<usize>,
    /// Shards of each node.
    pub(crate) shards: usize,
    /// Messages a second for each node. `None`: as many as possible.
    pub(crate) rate: Option<f64>,
    pub(crate) messages: u64,
    pub(crate) runs: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) work: Work,
    pub(crate) rates: Vec<Rate>,
    pub(crate) latency_time: Duration,
    pub(crate) latency_consumers: usize,
    pub(crate) buffer: usize,
    pub(crate) idle_time: Duration,
    pub(crate) idle_consumers: usize,
}

impl Plan {
    pub(crate) fn has(&self, section: Section) -> bool {
        self.sections.contains(&section)
    }

    /// How many messages a run with this number of consumers publishes: with work, at most what can be done in 5 s.
    pub(crate) fn messages_for(&self, consumers: usize, cores: usize) -> u64 {
        const SECONDS: f64 = 5.0;
        if self.work.is_none() {
            return self.messages;
        }
        let [wait, compute] =
            [self.work.wait_us, self.work.compute_us].map(|us| us.unwrap_or(0) as f64 / 1e6);
        let in_turn = consumers as f64 / (wait + compute);
        let on_cores = if compute > 0.0 { cores as f64 / compute } else { f64::INFINITY };
        let fitting = (SECONDS * in_turn.min(on_cores)).ceil().max(1.0) as u64;
        self.messages.min(fitting)
    }

    /// How long a group may be inactive after the end of a load before it counts as done: 5 s, or the time of the work
    /// for two messages.
    pub(crate) fn limit(&self) -> Duration {
        let work = self.work.wait_us.unwrap_or(0) + self.work.compute_us.unwrap_or(0);
        Duration::from_secs(5).max(2 * Duration::from_micros(work))
    }

    /// The most entries that the streams have at the same time.
    pub(crate) fn most_entries(&self) -> u64 {
        /// A high estimate: the throughput is not known yet.
        const THROUGHPUT: f64 = 500_000.0;
        let rates = self.rates.iter().map(|rate| self.messages_at(rate.at(THROUGHPUT)));
        let most = |section: &Section| match section {
            Section::Throughput | Section::Burst => self.messages,
            Section::Latency => rates.clone().fold(self.messages, u64::max),
            // Nothing is appended.
            Section::Idle | Section::Stuck => 0,
        };
        let most = self.sections.iter().map(most).max().unwrap_or(0);
        match (self.source, self.overflow) {
            (Source::Pubsub | Source::Sharded, Overflow::Drop) => most,
            // A message is there twice: in the input or the spill, and in the output.
            (Source::Stream, _) | (_, Overflow::Spill) => 2 * most,
        }
    }

    /// How many messages an open loop at this rate has.
    pub(crate) fn messages_at(&self, rate: f64) -> u64 {
        ((rate * self.latency_time.as_secs_f64()).round() as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan {
            sections: vec![Section::Throughput],
            source: Source::Pubsub,
            overflow: Overflow::Drop,
            consumers: vec![1, 4],
            nodes: vec![1, 2, 3],
            shards: 4,
            rate: None,
            messages: 1_000_000,
            runs: 3,
            payload_bytes: 53,
            work: Work::default(),
            rates: vec![Rate::Number(1000.0)],
            latency_time: Duration::from_secs(10),
            latency_consumers: 4,
            buffer: 256 << 20,
            idle_time: Duration::from_secs(10),
            idle_consumers: 1000,
        }
    }

    #[test]
    fn a_run_with_work_takes_about_five_seconds() {
        let wait = Plan { work: Work { wait_us: Some(10_000), compute_us: None }, ..plan() };
        assert_eq!(wait.messages_for(1, 2), 500);
        assert_eq!(wait.messages_for(1000, 2), 500_000);
        assert_eq!(wait.messages_for(10_000, 2), 1_000_000);
        let compute = Plan { work: Work { wait_us: None, compute_us: Some(50) }, ..plan() };
        assert_eq!(compute.messages_for(1, 2), 100_000);
        assert_eq!(compute.messages_for(100, 2), 200_000, "two cores compute no faster than two cores");
        let both = Plan { work: Work { wait_us: Some(9_950), compute_us: Some(50) }, ..plan() };
        assert_eq!(both.messages_for(10, 2), 5_000);
        assert_eq!(plan().messages_for(1, 2), 1_000_000);
    }

    #[test]
    fn a_processor_that_waits_long_is_waited_for() {
        let long = Plan { work: Work { wait_us: Some(10_000_000), compute_us: None }, ..plan() };
        assert_eq!(long.limit(), Duration::from_secs(20));
        assert_eq!(plan().limit(), Duration::from_secs(5));
    }

    #[test]
    fn the_largest_run_decides_how_many_entries_there_are() {
        assert_eq!(plan().most_entries(), 1_000_000);
        let fast = Plan { sections: vec![Section::Latency], rates: vec![Rate::Share(2.0)], ..plan() };
        assert_eq!(fast.most_entries(), 2_500_000);
        assert_eq!(Plan { source: Source::Stream, ..plan() }.most_entries(), 2_000_000);
        assert_eq!(Plan { sections: vec![Section::Stuck], ..plan() }.most_entries(), 0);
    }

    #[test]
    fn an_open_loop_has_the_messages_of_its_time() {
        assert_eq!(plan().messages_at(1000.0), 10_000);
        assert_eq!(plan().messages_at(0.01), 1);
    }
}
