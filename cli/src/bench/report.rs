//! What a bench found: plain data, as `--json` prints it and `--baseline` reads it.
//!
//! Times are in seconds or as the name says; CPU is in µs a message; memory is in bytes.

mod bare;
mod idle;
mod scaling;
mod spill;
mod stuck;

use serde::{Deserialize, Serialize};

use crate::bench::overflow::Overflow;
use crate::bench::source::Source;

pub(crate) use self::bare::Bare;
pub(crate) use self::idle::Idle;
pub(crate) use self::scaling::{Scaled, Scaling};
pub(crate) use self::spill::Spill;
pub(crate) use self::stuck::Stuck;

/// Everything that a bench found, with what it takes to make it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The program's version.
    pub(crate) version: String,
    /// When it began, in seconds since 1970.
    pub(crate) began: u64,
    pub(crate) machine: Machine,
    pub(crate) server: Server,
    pub(crate) parameters: Parameters,
    /// What the server can do without a group, once for each of the runs.
    pub(crate) server_limit: Vec<ServerLimit>,
    /// What moving a stream takes without a group, once for each of the runs. Not in older reports.
    #[serde(default)]
    pub(crate) bare: Vec<Bare>,
    /// What the engine can do without a server, for each number of consumers.
    pub(crate) engine_limit: Vec<EngineLimit>,
    /// What the work allows without a group, for each number of consumers. Empty without `--work`.
    pub(crate) work_limit: Vec<WorkLimit>,
    /// For each number of consumers.
    pub(crate) throughput: Vec<Throughput>,
    /// For each rate.
    pub(crate) latency: Vec<Latency>,
    /// All messages at once, at the server's own limits.
    pub(crate) burst: Vec<Run>,
    /// A group with nothing to do. Not in older reports.
    #[serde(default)]
    pub(crate) idle: Vec<Idle>,
    /// A group whose processor never finishes. Not in older reports.
    #[serde(default)]
    pub(crate) stuck: Vec<Stuck>,
    /// All messages at once, with a buffer that does not hold them. Not in older reports.
    #[serde(default)]
    pub(crate) spill: Vec<Spill>,
    /// For each number of nodes of a cluster. Not in older reports.
    #[serde(default)]
    pub(crate) scaling: Vec<Scaling>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's model, as the system tells it.
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    /// The operating system and its architecture: `linux x86_64`.
    pub(crate) system: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Server {
    /// Without a password.
    pub(crate) address: String,
    /// `Redis 7.0.15`, `Valkey 9.1.2`.
    pub(crate) version: String,
    /// Whether the bench has started it itself.
    pub(crate) private: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parameters {
    /// The arguments of the command, without credentials.
    pub(crate) command: String,
    /// In older reports it is pubsub.
    #[serde(default)]
    pub(crate) source: Source,
    /// In older reports it is drop.
    #[serde(default)]
    pub(crate) overflow: Overflow,
    pub(crate) messages: u64,
    pub(crate) runs: usize,
    pub(crate) consumers: Vec<usize>,
    pub(crate) payload_bytes: usize,
    /// Waiting in the processor.
    pub(crate) work_us: Option<u64>,
    /// Computing in the processor.
    pub(crate) work_cpu_us: Option<u64>,
    /// How long each rate is kept.
    pub(crate) latency_seconds: f64,
    pub(crate) latency_consumers: usize,
    pub(crate) buffer: u64,
    /// Messages a second for each node of a cluster, if not as many as can be. Not in older reports.
    #[serde(default)]
    pub(crate) rate: Option<f64>,
}

/// One run without a group: PUBLISH to one idle subscriber, then XADD, each pipelined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServerLimit {
    pub(crate) messages: u64,
    pub(crate) publish_seconds: f64,
    pub(crate) publish_cpu_us: f64,
    pub(crate) xadd_seconds: f64,
    pub(crate) xadd_cpu_us: f64,
    /// The part of the time that the server's main thread was busy, in both together: 0 to 1.
    pub(crate) busy: f64,
}

/// The engine between memory and memory, without a server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EngineLimit {
    pub(crate) consumers: usize,
    pub(crate) messages: u64,
    pub(crate) seconds: Vec<f64>,
}

/// The work alone, by as many tasks as there are consumers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkLimit {
    pub(crate) consumers: usize,
    /// How often the work was done in a second, by all together.
    pub(crate) rate: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Throughput {
    pub(crate) consumers: usize,
    pub(crate) runs: Vec<Run>,
}

/// One run: so many messages published at full speed by a process of its own, or as many entries that are in a stream
/// before the group starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) consumers: usize,
    pub(crate) published: u64,
    /// From the first PUBLISH, or from when the group begins to read, to the confirmed append of the last message.
    pub(crate) seconds: f64,
    /// From the first PUBLISH or XADD to the answer to the last one.
    pub(crate) publish_seconds: f64,
    pub(crate) group_cpu_us: f64,
    pub(crate) server_cpu_us: f64,
    /// The process that publishes.
    pub(crate) load_cpu_us: f64,
    /// The part of the time that the server's main thread was busy: 0 to 1. Where it is 1 nothing can be faster.
    pub(crate) busy: f64,
    /// The group's process, where the system tells it.
    pub(crate) peak_memory: Option<u64>,
    pub(crate) delivery: Delivery,
}

/// What became of the messages: the ledger of the group, and what the stream says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) received: u64,
    pub(crate) processed: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
    pub(crate) abandoned: u64,
    pub(crate) gaps: u64,
    /// Published, and not in the stream.
    pub(crate) lost: u64,
    /// Entries beyond the first one of their message.
    pub(crate) duplicated: u64,
    /// Entries of the input that nobody has acknowledged, or what is left in the spill. Not in older reports.
    #[serde(default)]
    pub(crate) pending: u64,
}

/// An open loop at one rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Messages a second, as asked for.
    pub(crate) rate: f64,
    pub(crate) messages: u64,
    pub(crate) consumers: usize,
    pub(crate) outcome: Outcome,
    pub(crate) delivery: Delivery,
}

/// Whether the rate was reached. A latency at another rate would say nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Reached {
        /// From the moment a message should have been published to its entry's append being confirmed.
        latency: Distribution,
        /// How late the load process was: it is part of the latency.
        late: Distribution,
    },
    /// It was not: by whose fault, and how far it came.
    Missed { rate: f64, reason: String },
}

/// How times are distributed, in µs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
    /// All that was recorded: upper bound of a class in µs, and how many are in it.
    pub(crate) classes: Vec<(f64, u64)>,
}

impl Run {
    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.published as f64 / self.seconds
    }
}

impl ServerLimit {
    /// Messages a second that the server can publish and append.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / (self.publish_seconds + self.xadd_seconds)
    }

    /// CPU of the server for one of them, in µs.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.publish_cpu_us + self.xadd_cpu_us
    }
}

impl Delivery {
    /// Whether each message is in the stream, once, and nobody would process it again.
    pub(crate) fn is_flawless(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.pending == 0
    }
}

impl Report {
    /// All runs over clusters.
    pub(crate) fn scaled(&self) -> impl Iterator<Item = &Scaled> {
        self.scaling.iter().flat_map(|scaling| &scaling.runs)
    }

    /// Whether each message of each run is in the stream, once; of a group that is stuck, in its ledger. A rate that
    /// was not reached is no flaw of that kind.
    pub(crate) fn is_flawless(&self) -> bool {
        let runs = self.throughput.iter().flat_map(|throughput| &throughput.runs).chain(&self.burst);
        runs.map(|run| &run.delivery)
            .chain(self.latency.iter().map(|latency| &latency.delivery))
            .all(Delivery::is_flawless)
            && self.stuck.iter().all(Stuck::adds_up)
            && self.spill.iter().all(Spill::is_flawless)
            && self.scaled().all(|scaled| scaled.run.delivery.is_flawless())
    }
}

/// The median of some measurements, the smallest and the largest. NaN of none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (values.first(), values.last()) else {
            return Self { median: f64::NAN, least: f64::NAN, most: f64::NAN };
        };
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Self { median, least: *least, most: *most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_ones() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0]), Spread { median: 3.0, least: 1.0, most: 4.0 });
        assert_eq!(Spread::of([4.0, 1.0]).median, 2.5);
        assert!(Spread::of([]).median.is_nan());
    }
}
