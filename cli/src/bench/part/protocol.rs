//! What a bench and its parts tell each other: a JSON object a line, over stdin and stdout.
//!
//! A part reads its [`Task`] first. Where the server is stands in there, and nowhere else that others on this
//! machine could see: not in an argument, not in a variable.

use std::path::PathBuf;

use redis_consumer_group::client::secret_url;
use redis_consumer_group::{Address, Error, Tls};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::bench::overflow::Overflow;
use crate::bench::report::Distribution;
use crate::bench::source::Source;

/// The channel that messages are published to, or the stream that they are read from.
pub(crate) const INPUT: &str = "bench:published";
/// The stream that records are appended to.
pub(crate) const OUTPUT: &str = "bench:processed";
/// The stream for what could not be processed.
pub(crate) const REJECTED: &str = "bench:rejected";
/// The stream that is spilled into.
pub(crate) const SPILL: &str = "{bench:processed}:spill";
/// The group that reads the input, where that is a stream.
pub(crate) const GROUP: &str = "processors";
/// The list of the consumers' ids.
pub(crate) const IDS: &str = "bench:ids";

/// What a channel or a key is called for one of the shards: as the library names it, with a tag.
pub(crate) fn of_shard(name: &str, shard: u32) -> String {
    format!("{name}:{{{shard}}}")
}

/// What a part is for: its first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Publishes or appends messages.
    Load(Load),
    /// Subscribes, and reads what comes until it was so many bytes. Nothing else.
    Listen { place: Place, bytes: u64 },
    /// Moves the input from stream to stream with one connection and without a group, and processes nothing.
    Bare { place: Place },
    /// Runs a group.
    Group(Group),
    /// Does the work of so many consumers, without a group, for so long.
    Work { consumers: usize, work: Work, seconds: f64 },
}

/// Where the server is, with the password.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    url: String,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) place: Place,
    pub(crate) command: Command,
    /// Whose messages these are, in turn. Without any, there are no shards.
    pub(crate) shards: Vec<u32>,
    /// Any id of the run.
    pub(crate) run: Uuid,
    /// The number of the first message.
    pub(crate) first: u64,
    pub(crate) messages: u64,
    pub(crate) payload_bytes: usize,
    /// Messages a second. Without it, as fast as the server takes them.
    pub(crate) rate: Option<f64>,
}

/// What a load sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    /// PUBLISH, of what a consumer processes.
    Publish,
    /// SPUBLISH of the same, to the shards that one node serves.
    ShardedPublish,
    /// XADD to the output, of what a consumer appends.
    Append,
    /// XADD to the input, of what a consumer processes.
    Fill,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) place: Place,
    pub(crate) source: Source,
    /// Of a sharded source.
    pub(crate) shards: Vec<u32>,
    pub(crate) overflow: Overflow,
    pub(crate) start: Start,
    pub(crate) consumers: usize,
    pub(crate) buffer: usize,
    pub(crate) max_payload: usize,
    pub(crate) duty: Duty,
    /// Any id of the run.
    pub(crate) run: Uuid,
    /// How many there will be. Without any, the group is left alone.
    pub(crate) messages: u64,
    /// The rate of the load, if latency is to be measured.
    pub(crate) rate: Option<f64>,
}

/// When a group starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    /// With its task. It is ready once it reads.
    AtOnce,
    /// With [`Order::Go`], to find all its messages there. [`Event::Begun`] tells when it reads.
    WhenTold,
}

/// What becomes of the messages that a processor is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Duty {
    /// Each becomes a record, after this work. Progress counts those that are confirmed.
    Record(Work),
    /// Nothing: none is ever finished. Progress counts those that are received.
    Never,
}

/// What the processor does besides making a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Work {
    /// Waits so many µs.
    pub(crate) wait_us: Option<u64>,
    /// Computes for so many µs of CPU.
    pub(crate) compute_us: Option<u64>,
}

/// What a part is told after its task. The end of stdin tells it to end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// To begin at this moment of the common clock, which is now or soon.
    Go { at: u64 },
    /// To say what CPU it has had.
    Look,
    /// To come to an end and say what was found.
    Finish,
}

/// What a part tells.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// It waits for [`Order::Go`].
    Ready,
    /// The group has heard of the beginning, or has started then. This moment, and CPU of its process so far, in ns.
    Begun { at: u64, cpu: u64 },
    /// The moment of [`Order::Look`], and the CPU of the process so far, in ns.
    Looked { at: u64, cpu: u64 },
    /// So many messages have come as far as their [`Duty`] lets them.
    Progress { messages: u64 },
    /// The load is done.
    Loaded(Loaded),
    /// All bytes were read, the last one at this moment.
    Heard { at: u64 },
    /// Everything is moved, without a group.
    Moved(Moved),
    /// All messages are confirmed to be in the stream.
    Appended(Appended),
    /// The group has ended.
    Finished(Box<Finished>),
    /// The work was done so often in a second, by all together.
    Worked { rate: f64 },
    /// It cannot go on. The code is the one that the program shall end with.
    Failed { code: u8, text: String },
}

/// What a load came to. Moments and times are in ns of the common clock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Loaded {
    /// When the first message was sent.
    pub(crate) first: u64,
    /// When the last one was written.
    pub(crate) written: u64,
    /// When the answer to the last one was read.
    pub(crate) answered: u64,
    /// Messages that no subscriber heard.
    pub(crate) unheard: u64,
    /// How long the server took nothing more.
    pub(crate) stalled: u64,
    /// CPU of the process from the first message to the last answer.
    pub(crate) cpu: u64,
    /// How long after its moment each message was written, in an open loop.
    pub(crate) late: Option<Distribution>,
}

/// What moving without a group came to. Moments and times are in ns of the common clock.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Moved {
    /// When the first read was sent.
    pub(crate) first: u64,
    /// When the last append was confirmed.
    pub(crate) last: u64,
    pub(crate) messages: u64,
    /// CPU of the process between the two.
    pub(crate) cpu: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// When the last append was confirmed.
    pub(crate) at: u64,
    /// CPU of the process since the beginning.
    pub(crate) cpu: u64,
    /// CPU that the thread which reads and commits has had since the first append, where all are appended.
    pub(crate) thread: Option<u64>,
    /// How many commits there were.
    pub(crate) commits: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) received: u64,
    pub(crate) processed: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
    pub(crate) abandoned: u64,
    pub(crate) gaps: u64,
    pub(crate) spilled: u64,
    pub(crate) drained: u64,
    /// The most messages that were seen in the spill at once.
    pub(crate) most_in_spill: u64,
    /// Why there were gaps, the latest ones.
    pub(crate) causes: Vec<String>,
    /// The last append that was confirmed, if there was one.
    pub(crate) last: Option<Appended>,
    /// In bytes, where the system tells it.
    pub(crate) peak_memory: Option<u64>,
    /// From the moment a message was due to its append being confirmed.
    pub(crate) latency: Option<Distribution>,
}

impl Loaded {
    /// What two loads came to that ran at the same time. How late each message was is told of one load only.
    pub(crate) fn and(&self, other: &Self) -> Self {
        Self {
            first: self.first.min(other.first),
            written: self.written.max(other.written),
            answered: self.answered.max(other.answered),
            unheard: self.unheard + other.unheard,
            stalled: self.stalled.max(other.stalled),
            cpu: self.cpu + other.cpu,
            late: None,
        }
    }
}

impl Place {
    pub(crate) async fn new(address: &Address, tls: &Tls) -> Result<Self, Error> {
        let Tls { ca, cert, key, .. } = tls.clone();
        Ok(Self { url: secret_url(address).await?, ca, cert, key })
    }

    pub(crate) fn open(&self) -> anyhow::Result<(Address, Tls)> {
        let mut tls = Tls::default();
        (tls.ca, tls.cert, tls.key) = (self.ca.clone(), self.cert.clone(), self.key.clone());
        Ok((self.url.parse()?, tls))
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL has the password.
        f.debug_struct("Place").finish_non_exhaustive()
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
    async fn a_place_arrives_with_its_password_and_does_not_show_it() {
        let address: Address = "redis://u:hu%20sh@h:1/2".parse().unwrap();
        let mut tls = Tls::default();
        tls.ca = Some("ca.pem".into());
        let place = Place::new(&address, &tls).await.unwrap();
        assert!(!format!("{place:?}").contains("hu"), "{place:?}");
        let line = serde_json::to_string(&Task::Listen { place, bytes: 1 }).unwrap();
        let Task::Listen { place, .. } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
        assert_eq!(place.open().unwrap(), (address, tls));
    }
}
