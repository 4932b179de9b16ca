//! The configuration of a group: plain data with defaults, validated in one place for the library and the program.

mod effect;
mod replay;
mod shards;
mod stream;
mod validate;

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use self::replay::Replay;
pub use self::stream::{Begin, StreamInput, Trim};
use crate::address::Address;
use crate::shards::Shards;
use crate::slot;

/// All settings. [`Config::default`] has the documented defaults.
///
/// A builder changes single settings with [`configure`](crate::Builder::configure). To build a whole configuration,
/// change the default:
///
/// ```
/// use redis_consumer_group::{Config, ConsumerGroup};
///
/// # fn example() -> Result<(), redis_consumer_group::Error> {
/// let mut config = Config::default();
/// config.address = "rediss://redis.example:6380".parse()?;
/// config.consumers = 8;
/// let builder = ConsumerGroup::from_config(config);
/// # drop(builder);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The server and the credentials for it. Default: `redis://localhost:6379`.
    pub address: Address,
    /// Certificates, if the address uses TLS.
    pub tls: Tls,
    /// Where messages come from. Default: [`SourceKind::PubSub`].
    pub source: SourceKind,
    /// How many consumers work at the same time: 1 to 10,000. Default: 3.
    pub consumers: usize,
    /// The channel or the stream to read. Default: `messages:published`.
    pub input: String,
    /// Settings of the source `stream`.
    pub stream: StreamInput,
    /// Settings of the source `rejected`: which messages are processed again. Default: all.
    pub replay: Replay,
    /// Several inputs, each with its own output and its own consumers. Default: none; with [`SourceKind::Sharded`], 16.
    pub shards: Option<Shards>,
    /// The stream that records are appended to. Default: `messages:processed`.
    pub output: String,
    /// The stream for messages that could not be processed. Default: `messages:rejected`.
    pub rejected: String,
    /// The list of the ids of living consumers. Default: `consumer:ids`.
    pub ids_key: String,
    /// The maximum number of bytes that waiting messages may hold, including frames and bookkeeping. Default: 256 MiB.
    pub buffer: usize,
    /// What to do with a message that finds the buffer full. Default: [`Overflow::Drop`]. The source `stream`
    /// waits for room instead.
    pub overflow: Overflow,
    /// The stream that [`Overflow::Spill`] spills into. Default: `spill` next to the output,
    /// `{messages:processed}:spill`.
    pub spill_key: Option<String>,
    /// Approximately how many messages may be in the spill. Default: 1,000,000. Messages on their way into it hold at
    /// most 16 MiB, in addition to the buffer.
    pub spill_max: u64,
    /// How records are appended. Default: [`Commit::Atomic`].
    pub commit: Commit,
    /// A longer payload (in bytes) is rejected and not buffered. Default: 1 MiB. Entries of a stream are never too
    /// long: Redis has already accepted them.
    pub max_payload: usize,
    /// How often a message is tried before it is rejected, including the first attempt. Default: 5. For an entry of a
    /// stream, the attempts of all processes count. An attempt that ended with its process counts too, even for entries
    /// that the process had fetched and not begun: with 1, everything a killed process held is rejected.
    pub max_attempts: u32,
    /// How long a message waits before its second attempt. Each further delay is four times as long, up to
    /// [`Config::retry_max_delay`], and random jitter can double it. Default: 100 ms.
    ///
    /// All attempts together last at least as long as the sum of the delays. With the defaults and 5 attempts, these
    /// are 0.1, 0.4, 1.6 and 6.4 s: 8.5 s. With a first delay of 5 s they are 5, 20, 30 and 30 s: 85 s. With a first
    /// delay of 10 s and a longest delay of 2 min they are 10, 40, 120 and 120 s: almost 5 minutes. With the default
    /// delays, 10 attempts last more than 2 minutes. Messages that wait for a retry keep their part of the
    /// [buffer](Config::buffer).
    pub retry_delay: Duration,
    /// The longest delay before a retry, unless the processor asks for a longer one with
    /// [`Failure::TryAfter`](crate::Failure::TryAfter). Default: 30 s.
    pub retry_max_delay: Duration,
    /// How long one attempt may take. Default: no limit.
    pub processor_timeout: Option<Duration>,
    /// Trims the output to about this many entries. Default: no trimming.
    pub maxlen: Option<u64>,
    /// Trims the stream of rejected messages to about this many entries. Default: no trimming.
    pub rejected_maxlen: Option<u64>,
    /// Stops the group, like `shutdown`, after this many messages were received. Default: never.
    pub max_messages: Option<u64>,
    /// How long a stop may take to finish the received messages. Default: 10 s.
    pub drain_timeout: Duration,
    /// How long commits that no replica is known to have are kept in memory, in a cluster and behind sentinels. When a
    /// node promoted in a failover lacks them, they are appended again there. They hold at most as many bytes as the
    /// buffer, in addition to it. Default: 5 s.
    pub keep: Duration,
    /// The lease: how long this process may go without a heartbeat before its ids are removed and other processes take
    /// over its entries. Default: 10 s.
    pub lease: Duration,
}

/// Certificate files for a connection with TLS. Needs the feature `tls`.
///
/// ```
/// use redis_consumer_group::Tls;
///
/// let tls = Tls::new().ca("ca.pem").certificate("client.pem", "client.key");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// Certificates (PEM) to trust instead of those of the system.
    pub ca: Option<PathBuf>,
    /// The client's certificate (PEM), if the server asks for one.
    pub cert: Option<PathBuf>,
    /// The private key (PEM) of [`Tls::cert`].
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Trusts the system's certificates, and presents none of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the certificates of this file (PEM) instead of those of the system.
    #[must_use]
    pub fn ca(self, path: impl Into<PathBuf>) -> Self {
        Self { ca: Some(path.into()), ..self }
    }

    /// Presents this certificate (PEM) to the server, whose private key (PEM) is in the second file.
    #[must_use]
    pub fn certificate(self, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: Some(cert.into()), key: Some(key.into()), ..self }
    }
}

/// Where messages come from, and the delivery guarantee of each source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceKind {
    /// A channel. Every message *received* ends up in the output once. Messages published during a gap are lost, and
    /// the gap is reported.
    #[default]
    PubSub,
    /// Sharded channels of a Redis Cluster, one for each of the [`Shards`]. Each of them has the guarantee of
    /// [`SourceKind::PubSub`]. When a slot moves or a node fails, only the shards concerned have a gap.
    Sharded,
    /// A stream, read through a consumer group that any number of processes share. Every entry ends up in the output
    /// once, no matter which process dies at which moment. Nothing is lost as long as Redis itself keeps its data.
    Stream,
    /// The stream of rejected messages. The entries that are there at the start and that [`Config::replay`] selects go
    /// through the processor again. The transaction that appends the result of an entry also removes the entry from the
    /// stream. An entry that is rejected again comes back as a new entry, which waits for the next replay. The group
    /// ends by itself. One process at a time replays a stream; no message is lost or processed into the output twice,
    /// no matter which process dies at which moment.
    Rejected,
}

impl SourceKind {
    /// Whether the source is a channel: its messages are lost when no subscriber is connected.
    pub(crate) fn is_channel(self) -> bool {
        matches!(self, Self::PubSub | Self::Sharded)
    }
}

/// What to do with a message that finds the buffer full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Drops the newest message and counts it. Reading continues, so the server never disconnects the subscriber for
    /// being slow.
    #[default]
    Drop,
    /// Stops reading until there is room. The group drops nothing; but when the server's own output buffer for the
    /// connection is full, the server closes the connection, which is a gap.
    Wait,
    /// Appends the message to a stream in Redis, in order with the others that find no room. This process or the next
    /// one reads it back when there is room. The message is dropped and counted when that stream has
    /// [`Config::spill_max`] entries, or when Redis does not accept it.
    Spill,
}

/// How records are appended to the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// Each batch is a numbered transaction, so after any break the group knows which batches were committed. Nothing
    /// is appended twice.
    #[default]
    Atomic,
    /// Plain `XADD` in a pipeline; entries of a stream are acknowledged after their records were appended. When the
    /// confirmation of a batch is lost, the batch is appended again: nothing is lost, but records may be in the output
    /// twice.
    AtLeastOnce,
}

impl Config {
    /// The stream for spilled messages, if the configuration spills.
    pub(crate) fn spill(&self) -> Option<String> {
        let spills = self.source.is_channel() && self.overflow == Overflow::Spill;
        spills.then(|| self.spill_key.clone().unwrap_or_else(|| slot::beside(&self.output, "spill")))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            address: Address::from_str("redis://localhost:6379")
                .unwrap_or_else(|_| unreachable!("a constant")),
            tls: Tls::default(),
            source: SourceKind::default(),
            shards: None,
            consumers: 3,
            input: "messages:published".to_owned(),
            stream: StreamInput::default(),
            replay: Replay::default(),
            output: "messages:processed".to_owned(),
            rejected: "messages:rejected".to_owned(),
            ids_key: "consumer:ids".to_owned(),
            buffer: 256 << 20,
            overflow: Overflow::default(),
            spill_key: None,
            spill_max: 1_000_000,
            commit: Commit::default(),
            max_payload: 1 << 20,
            max_attempts: 5,
            retry_delay: Duration::from_millis(100),
            retry_max_delay: Duration::from_secs(30),
            processor_timeout: None,
            maxlen: None,
            rejected_maxlen: None,
            max_messages: None,
            drain_timeout: Duration::from_secs(10),
            keep: Duration::from_secs(5),
            lease: Duration::from_secs(10),
        }
    }
}
