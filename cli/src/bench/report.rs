//! The results of a bench: plain data that `--json` prints and `--baseline` reads.
//!
//! Times are in seconds unless the name has another unit. CPU is in µs per message, memory in bytes. Every list of the
//! [`Report`] has one element per run; `--csv` makes a row of each.

use redis_consumer_group::Ledger;
use serde::{Deserialize, Serialize};

use crate::bench::overflow::Overflow;
use crate::bench::source::Source;

/// All results, and what is needed to measure them again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The version of the program.
    pub(crate) version: String,
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
    pub(crate) machine: Machine,
    pub(crate) server: Server,
    pub(crate) parameters: Parameters,
    /// The server without a group.
    pub(crate) server_limit: Vec<ServerLimit>,
    /// A stream moved without a group.
    pub(crate) bare: Vec<Bare>,
    /// The engine without a server.
    pub(crate) engine_limit: Vec<EngineLimit>,
    /// The work of the processor without a group. Empty without `--work`.
    pub(crate) work_limit: Vec<WorkLimit>,
    pub(crate) throughput: Vec<Run>,
    /// One for each rate.
    pub(crate) latency: Vec<Latency>,
    /// All messages at once, at the server's default limits.
    pub(crate) burst: Vec<Run>,
    /// The same with a buffer that is too small, and a spill.
    pub(crate) spill: Vec<Run>,
    /// Clusters of each size.
    pub(crate) scaling: Vec<Run>,
    pub(crate) idle: Vec<Idle>,
    pub(crate) stuck: Vec<Stuck>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's model, as the system names it.
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// The operating system and its architecture: `linux x86_64`.
    pub(crate) system: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Without a password.
    pub(crate) address: String,
    /// `Redis 7.0.15`, `Valkey 9.1.2`.
    pub(crate) version: String,
    /// Whether the bench started it.
    pub(crate) private: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parameters {
    /// The arguments of the command, without credentials.
    pub(crate) command: String,
    pub(crate) source: Source,
    pub(crate) overflow: Overflow,
    pub(crate) messages: u64,
    pub(crate) runs: usize,
    pub(crate) consumers: Vec<usize>,
    pub(crate) payload_bytes: usize,
    /// How long the processor waits for each message.
    pub(crate) work_us: Option<u64>,
    /// How long the processor computes for each message.
    pub(crate) work_cpu_us: Option<u64>,
    /// How long messages are published at each rate.
    pub(crate) latency_seconds: f64,
    pub(crate) latency_consumers: usize,
    /// Limit of the memory for waiting messages.
    pub(crate) buffer: u64,
    /// Messages a second for each node of a cluster. `None`: as many as possible.
    pub(crate) rate: Option<f64>,
}

/// One run without a group: PUBLISH to one idle subscriber, then XADD, each pipelined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerLimit {
    pub(crate) messages: u64,
    /// PUBLISH and XADD together.
    pub(crate) seconds: f64,
    pub(crate) publish_seconds: f64,
    pub(crate) publish_cpu_us: f64,
    pub(crate) xadd_cpu_us: f64,
    /// The share of the time in which the server's main thread was busy: 0 to 1.
    pub(crate) busy: f64,
}

/// One run without a group: one connection that repeatedly reads 256 entries, and appends and acknowledges them in one
/// transaction. Nothing is processed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bare {
    pub(crate) messages: u64,
    /// From the first read to the last confirmed append.
    pub(crate) seconds: f64,
    pub(crate) server_cpu_us: f64,
    /// The process that moves the entries.
    pub(crate) mover_cpu_us: f64,
    /// The share of the time in which the server's main thread was busy: 0 to 1.
    pub(crate) busy: f64,
}

/// One run of the engine from memory to memory, without a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EngineLimit {
    pub(crate) consumers: usize,
    pub(crate) messages: u64,
    pub(crate) seconds: f64,
}

/// The work alone, done by as many tasks as there are consumers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkLimit {
    pub(crate) consumers: usize,
    /// How often all tasks together did the work in a second.
    pub(crate) rate: f64,
}

/// One run of a group. A separate process publishes the messages at full speed, or they are in a stream before the group
/// starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Of each shard, in a cluster.
    pub(crate) consumers: usize,
    pub(crate) messages: u64,
    /// From the first PUBLISH, or the group's first read of a stream, to the confirmed append of the last message.
    pub(crate) seconds: f64,
    /// From the first PUBLISH or XADD to the reply to the last one.
    pub(crate) publish_seconds: f64,
    pub(crate) group_cpu_us: f64,
    /// The group's thread that reads and commits: a part of `group_cpu_us`. `None` unless everything was appended.
    pub(crate) thread_cpu_us: Option<f64>,
    /// Of all nodes together, in a cluster.
    pub(crate) server_cpu_us: f64,
    /// The processes that publish.
    pub(crate) load_cpu_us: f64,
    /// The share of the time in which the server's main thread was busy: 0 to 1. In a cluster, the mean of the nodes.
    pub(crate) busy: f64,
    pub(crate) commits: u64,
    /// Of the group's process, on systems that report it.
    pub(crate) peak_memory: Option<u64>,
    pub(crate) delivery: Delivery,
    /// `None` with a single server.
    pub(crate) cluster: Option<Cluster>,
}

/// The cluster of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// Primaries. There are no replicas.
    pub(crate) nodes: usize,
    /// In total, the same number on each node.
    pub(crate) shards: usize,
    /// [`Run::busy`] of each node.
    pub(crate) busy: Vec<f64>,
}

/// The counts of a group's ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) processed: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
    pub(crate) abandoned: u64,
    pub(crate) gaps: u64,
    pub(crate) spilled: u64,
    pub(crate) read_back: u64,
    /// The most messages that were in the spill at the same time.
    pub(crate) most_in_spill: u64,
}

/// The group's ledger, and what the bench itself found in the output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    #[serde(flatten)]
    pub(crate) ledger: Counts,
    /// Published, and not in the output.
    pub(crate) lost: u64,
    /// Entries after the first one of the same message.
    pub(crate) duplicated: u64,
    /// Entries of the input stream that are not acknowledged, or messages that are left in the spill.
    pub(crate) pending: u64,
}

/// Messages published at one fixed rate (an open loop).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// The requested messages a second.
    pub(crate) rate: f64,
    pub(crate) messages: u64,
    pub(crate) consumers: usize,
    pub(crate) outcome: Outcome,
    pub(crate) delivery: Delivery,
}

/// Whether the rate was reached. The latency at another rate would be meaningless.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Reached {
        /// From the time at which a message was due to the confirmed append of its entry.
        latency: Distribution,
        /// How late the load process was. Included in the latency.
        late: Distribution,
    },
    /// The rate that was reached instead, and why.
    Missed { rate: f64, reason: String },
}

/// A distribution of times, in µs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// The whole histogram: the upper bound of each class in µs, and its count.
    pub(crate) classes: Vec<(f64, u64)>,
}

/// A group without messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) consumers: usize,
    /// How long it was observed, after its start had settled.
    pub(crate) seconds: f64,
    /// CPU of the group's process in that time, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Of the group's process, on systems that report it.
    pub(crate) peak_memory: Option<u64>,
}

/// A group whose processor never finishes. Nothing reaches the output: every message is either dropped, or held until
/// the end and then abandoned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stuck {
    pub(crate) consumers: usize,
    pub(crate) messages: u64,
    /// From the first PUBLISH to the reply to the last one.
    pub(crate) publish_seconds: f64,
    /// Messages that the server delivered to no subscriber.
    pub(crate) undelivered: u64,
    #[serde(flatten)]
    pub(crate) ledger: Counts,
    /// The cause of the last gap.
    pub(crate) cause: Option<String>,
    /// Of the group's process, on systems that report it.
    pub(crate) peak_memory: Option<u64>,
}

impl ServerLimit {
    /// CPU of the server for PUBLISH and XADD of one message.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.publish_cpu_us + self.xadd_cpu_us
    }
}

impl Run {
    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// 1 with a single server.
    pub(crate) fn nodes(&self) -> usize {
        self.cluster.as_ref().map_or(1, |cluster| cluster.nodes)
    }
}

impl Counts {
    pub(crate) fn of(ledger: &Ledger, most_in_spill: u64) -> Self {
        Self {
            received: ledger.received,
            processed: ledger.processed,
            rejected: ledger.rejected,
            dropped: ledger.dropped,
            abandoned: ledger.abandoned,
            gaps: ledger.gaps.count,
            spilled: ledger.spilled,
            read_back: ledger.read_back,
            most_in_spill,
        }
    }

    /// Messages whose outcome is known.
    pub(crate) fn settled(&self) -> u64 {
        self.processed + self.rejected + self.dropped + self.abandoned
    }
}

impl Delivery {
    /// Whether each message is in the output once, nothing is left to process, and the whole spill was read back.
    pub(crate) fn is_flawless(&self) -> bool {
        self.lost + self.duplicated + self.pending == 0 && self.ledger.spilled == self.ledger.read_back
    }
}

impl Idle {
    /// The share of one core that the group used. Above 1 if it used more than one.
    pub(crate) fn busy(&self) -> f64 {
        self.cpu_seconds / self.seconds
    }
}

impl Stuck {
    /// Published, and not received.
    pub(crate) fn missed(&self) -> u64 {
        self.messages.saturating_sub(self.ledger.received)
    }

    /// Whether the ledger has exactly the published messages, and the outcome of each.
    pub(crate) fn adds_up(&self) -> bool {
        self.messages == self.ledger.received && self.ledger.received == self.ledger.settled()
    }
}

impl Report {
    /// The delivery of each run whose output was checked.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        let runs = self.throughput.iter().chain(&self.burst).chain(&self.spill).chain(&self.scaling);
        runs.map(|run| &run.delivery).chain(self.latency.iter().map(|latency| &latency.delivery))
    }

    /// Whether each message of each run is in the output once; with a stuck processor, in the ledger. A rate that was
    /// not reached does not count.
    pub(crate) fn is_flawless(&self) -> bool {
        self.deliveries().all(Delivery::is_flawless) && self.stuck.iter().all(Stuck::adds_up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    #[test]
    fn the_ledger_adds_up_if_it_has_each_message_once() {
        let stuck = sample::stuck();
        assert!(stuck.adds_up());
        let mut few = stuck.clone();
        few.ledger.abandoned -= 1;
        assert!(!few.adds_up(), "one message has no outcome");
        let missed = Stuck { messages: stuck.messages + 1, ..stuck.clone() };
        assert_eq!((missed.adds_up(), missed.missed()), (false, 1));
        let foreign = Stuck { messages: stuck.messages - 1, ..stuck };
        assert_eq!((foreign.adds_up(), foreign.missed()), (false, 0));
    }

    #[test]
    fn a_spill_that_was_not_read_back_is_a_flaw() {
        let read_back = Counts { spilled: 7, read_back: 7, ..Counts::default() };
        let delivery = Delivery { ledger: read_back.clone(), ..Delivery::default() };
        assert!(delivery.is_flawless());
        assert!(!Delivery { ledger: Counts { read_back: 6, ..read_back }, ..delivery }.is_flawless());
    }
}
