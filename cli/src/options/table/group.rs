//! Options of the group: its source, its consumers and their attempts.

use redis_consumer_group::{Commit, SourceKind};

use crate::options::option::{Group, Kind, Opt};
use crate::options::value::{duration, number, optional, put};

pub(super) const GROUP: Group = Group { heading: "Group", options: OPTIONS };

const OPTIONS: &[Opt] = &[
    Opt::new("consumers", Kind::Value("N"), "3", "Number of consumers: how many messages are processed at the same time", |s, text| {
        put(&mut s.config.consumers, number(text))
    }),
    Opt::new(
        "source",
        Kind::Choice(&["pubsub", "sharded", "stream"]),
        "pubsub",
        "Where messages come from",
        |s, text| {
            let source = match text {
                "sharded" => SourceKind::Sharded,
                "stream" => SourceKind::Stream,
                _ => SourceKind::PubSub,
            };
            put(&mut s.config.source, Ok(source))
        },
    )
    .more("pubsub: a channel. sharded: sharded channels of a cluster. stream: a stream that any number of processes share through its consumer group"),
    Opt::new(
        "commit",
        Kind::Choice(&["atomic", "at-least-once"]),
        "atomic",
        "How records are appended",
        |s, text| {
            let atomic = text == "atomic";
            put(&mut s.config.commit, Ok(if atomic { Commit::Atomic } else { Commit::AtLeastOnce }))
        },
    )
    .more("atomic: in numbered transactions that also acknowledge, so nothing is appended twice. at-least-once: plain XADD, acknowledged afterwards; after a broken connection some records may be in the output twice"),
    Opt::new(
        "max-attempts",
        Kind::Value("N"),
        "5",
        "Number of attempts before a message is rejected",
        |s, text| put(&mut s.config.max_attempts, number(text)),
    ),
    Opt::new(
        "retry-delay",
        Kind::Value("TIME"),
        "100ms",
        "Delay before the second attempt at a message. Each further delay is four times as long: 0.1, 0.4, 1.6 and 6.4 s by default. A random part may double each delay: five attempts span 8.5 to 17 s, or 85 to 100 s with --retry-delay 5s",
        |s, text| put(&mut s.config.retry_delay, duration(text)),
    ),
    Opt::new(
        "retry-max-delay",
        Kind::Value("TIME"),
        "30s",
        "Longest delay before the next attempt",
        |s, text| put(&mut s.config.retry_max_delay, duration(text)),
    ),
    Opt::new("processor-timeout", Kind::Value("TIME"), "none", "Time limit for one attempt", |s, text| {
        put(&mut s.config.processor_timeout, optional(text, duration))
    }),
    Opt::new(
        "max-messages",
        Kind::Value("N"),
        "none",
        "Stop, as after SIGTERM, once this many messages have been received",
        |s, text| put(&mut s.config.max_messages, optional(text, number)),
    ),
    Opt::new(
        "drain-timeout",
        Kind::Value("TIME"),
        "10s",
        "Time limit for a stop: how long to finish the messages already received",
        |s, text| put(&mut s.config.drain_timeout, duration(text)),
    ),
    Opt::new(
        "keep",
        Kind::Value("TIME"),
        "5s",
        "How long to keep records that no replica is known to have, to append them again after a failover (cluster and Sentinel)",
        |s, text| put(&mut s.config.keep, duration(text)),
    ),
    Opt::new(
        "lease",
        Kind::Value("TIME"),
        "10s",
        "How long this process counts as alive without renewing its lease. After that, other processes remove its ids and take over its stream entries",
        |s, text| put(&mut s.config.lease, duration(text)),
    ),
];
