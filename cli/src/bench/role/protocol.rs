//! The messages between a bench and its child processes: one JSON object a line, over stdin and stdout.
//!
//! A child first reads its [`Task`], which has the server's URL with the password. Arguments and variables, which others
//! on this machine could see, never have it.

use std::path::PathBuf;

use redis_consumer_group::client::secret_url;
use redis_consumer_group::{Address, Error, Tls};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bench::overflow::Overflow;
use crate::bench::report::{Counts, Distribution};
use crate::bench::source::Source;

/// The input: a channel or a stream.
pub(crate) const INPUT: &str = "bench:published";
/// The output stream.
pub(crate) const OUTPUT: &str = "bench:processed";
/// The stream of rejected messages.
pub(crate) const REJECTED: &str = "bench:rejected";
/// The stream of spilled messages.
pub(crate) const SPILL: &str = "{bench:processed}:spill";
/// The Redis consumer group of an input stream.
pub(crate) const GROUP: &str = "processors";
/// The list of the consumers' ids.
pub(crate) const IDS: &str = "bench:ids";

/// The name of one shard's channel or key: as the library names it, with a tag.
pub(crate) fn of_shard(name: &str, shard: u32) -> String {
    format!("{name}:{{{shard}}}")
}

/// The first line for a child: its role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Publishes or appends messages.
    Load(Load),
    /// Subscribes, and reads this number of bytes.
    Listen { endpoint: Endpoint, bytes: u64 },
    /// Moves the input stream to the output with one connection, without a group and without processing.
    Bare { endpoint: Endpoint },
    /// Runs a group.
    Group(Group),
    /// Does the work of this number of consumers for some time, without a group.
    Work { consumers: usize, work: Work, seconds: f64 },
}

/// How to reach the server, with the password.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    url: String,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) endpoint: Endpoint,
    pub(crate) command: Command,
    /// The shards that get the messages in turn. Empty without shards.
    pub(crate) shards: Vec<u32>,
    /// Any id of the run.
    pub(crate) run: Uuid,
    /// The number of the first message.
    pub(crate) first: u64,
    pub(crate) messages: u64,
    pub(crate) payload_bytes: usize,
    /// Messages a second. `None`: as fast as the server takes them.
    pub(crate) rate: Option<f64>,
}

/// The command that a load sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// PUBLISH of a message.
    Publish,
    /// SPUBLISH of a message to the shards of one node.
    ShardedPublish,
    /// XADD of a record to the output.
    Append,
    /// XADD of a message to the input.
    Fill,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) endpoint: Endpoint,
    pub(crate) source: Source,
    /// With a sharded source.
    pub(crate) shards: Vec<u32>,
    pub(crate) overflow: Overflow,
    pub(crate) start: Start,
    pub(crate) consumers: usize,
    pub(crate) buffer: usize,
    pub(crate) max_payload: usize,
    pub(crate) processing: Processing,
    /// Any id of the run.
    pub(crate) run: Uuid,
    /// How many messages to expect. With 0, the group is not woken to report its progress.
    pub(crate) messages: u64,
    /// The rate of the load, if latency is measured.
    pub(crate) rate: Option<f64>,
}

/// When a group starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    /// At once. It is ready when it reads.
    AtOnce,
    /// At [`Order::Go`], when the whole backlog is in the stream. [`Event::Started`] tells when it reads.
    WhenTold,
}

/// What the processor does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Processing {
    /// Makes a record of each, after this work. Progress counts confirmed records.
    Record(Work),
    /// Never finishes one. Progress counts received messages.
    Never,
}

/// What the processor does besides making a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// µs of waiting.
    pub(crate) wait_us: Option<u64>,
    /// µs of CPU.
    pub(crate) compute_us: Option<u64>,
}

/// A line for a child after its task. The end of stdin ends it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Begin at this time of the common clock, which is now or soon.
    Go { at: u64 },
    /// Report the CPU time.
    ReportCpu,
    /// Finish, and report the results.
    Finish,
}

/// A line from a child. Times are in ns of the common clock, CPU is that of the child's process in ns.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// It has connected, and waits for [`Order::Go`] if there is one.
    Ready,
    /// The group has got [`Order::Go`], and reads.
    Started { at: u64, cpu: u64 },
    /// The answer to [`Order::ReportCpu`].
    Cpu { at: u64, cpu: u64 },
    /// The count that [`Processing`] describes.
    Progress { messages: u64 },
    /// The load, or the move without a group, is done.
    Loaded(Loaded),
    /// The subscriber has read all bytes.
    Received { at: u64 },
    /// All messages are confirmed to be in the output.
    Appended(Appended),
    /// The group has ended.
    Finished(Box<Finished>),
    /// How often all tasks together did the work in a second.
    Worked { rate: f64 },
    /// It failed, with the exit code for the program.
    Failed { code: u8, text: String },
}

/// The result of a load. Times are in ns of the common clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// When the first message was sent.
    pub(crate) first: u64,
    /// When the last one was written.
    pub(crate) written: u64,
    /// When the reply to the last one was read.
    pub(crate) answered: u64,
    /// Messages that the server delivered to no subscriber.
    pub(crate) undelivered: u64,
    /// How long the server's socket was full.
    pub(crate) stalled: u64,
    /// CPU of the process from the first message to the last reply.
    pub(crate) cpu: u64,
    /// How late each message was written, in an open loop.
    pub(crate) late: Option<Distribution>,
}

/// The last append.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// When it was confirmed.
    pub(crate) at: u64,
    /// CPU of the process since its start.
    pub(crate) cpu: u64,
    /// CPU since the first append of the thread that reads and commits. `None` unless everything was appended.
    pub(crate) thread: Option<u64>,
    pub(crate) commits: u64,
}

/// The results of a group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) ledger: Counts,
    /// The causes of the latest gaps.
    pub(crate) causes: Vec<String>,
    /// The last confirmed append, if there was one.
    pub(crate) last: Option<Appended>,
    /// In bytes, on systems that report it.
    pub(crate) peak_memory: Option<u64>,
    /// From the time at which a message was due to its confirmed append.
    pub(crate) latency: Option<Distribution>,
}

impl Loaded {
    /// Two simultaneous loads as one. Lateness is only reported for a single load.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            first: self.first.min(other.first),
            written: self.written.max(other.written),
            answered: self.answered.max(other.answered),
            undelivered: self.undelivered + other.undelivered,
            stalled: self.stalled.max(other.stalled),
            cpu: self.cpu + other.cpu,
            late: None,
        }
    }
}

impl Endpoint {
    pub(crate) async fn new(address: &Address, tls: &Tls) -> Result<Self, Error> {
        let Tls { ca, cert, key, .. } = tls.clone();
        Ok(Self { url: secret_url(address).await?, ca, cert, key })
    }

    pub(crate) fn parse(&self) -> anyhow::Result<(Address, Tls)> {
        let mut tls = Tls::default();
        (tls.ca, tls.cert, tls.key) = (self.ca.clone(), self.cert.clone(), self.key.clone());
        Ok((self.url.parse()?, tls))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL has the password.
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl Work {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_endpoint_is_sent_with_its_password_and_does_not_show_it() {
        let address: Address = "redis://u:hu%20sh@h:1/2".parse().unwrap();
        let mut tls = Tls::default();
        tls.ca = Some("ca.pem".into());
        let endpoint = Endpoint::new(&address, &tls).await.unwrap();
        assert!(!format!("{endpoint:?}").contains("hu"), "{endpoint:?}");
        let line = serde_json::to_string(&Task::Listen { endpoint, bytes: 1 }).unwrap();
        let Task::Listen { endpoint, .. } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert_eq!(endpoint.parse().unwrap(), (address, tls));
    }
}
