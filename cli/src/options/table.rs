//! Every option of the program that is also a variable and a key of the file.

use std::time::Duration;

use redis_consumer_group::{Address, Commit, Overflow, ShardSetError, SourceKind, Trim};

use super::option::{Group, Kind, Opt};
use super::settings::LogFormat;
use super::value::{begin, duration, filter, foreign_filter, number, optional, put, size, switch};

/// The options that name the server, shared by all subcommands.
pub(crate) const CONNECTION: &[Group] = &[CONNECT];

/// The options of `ids`.
pub(crate) const IDS: &[Group] =
    &[CONNECT, Group { heading: NAMES, options: &[IDS_KEY] }, Group { heading: "Shards", options: SHARDS }];

/// The options of `rejected list` and `rejected clear`.
pub(crate) const REJECTED: &[Group] = &[
    CONNECT,
    Group { heading: NAMES, options: &[named(KEYS, "rejected")] },
    Group { heading: "Shards", options: SHARDS },
];

/// The options of `rejected replay`: those of `run` that do not concern an input.
pub(crate) const REPLAY: &[Group] = &[
    CONNECT,
    Group {
        heading: "Group",
        options: &[
            named(GROUP, "consumers"),
            named(GROUP, "max-attempts"),
            named(GROUP, "processor-timeout"),
            named(GROUP, "drain-timeout"),
            named(GROUP, "keep"),
            named(GROUP, "lease"),
        ],
    },
    Group {
        heading: NAMES,
        options: &[named(KEYS, "output"), named(KEYS, "rejected"), IDS_KEY, named(KEYS, "maxlen")],
    },
    Group { heading: "Shards", options: SHARDS },
    Group {
        heading: "Messages of a stream",
        options: &[named(STREAM, "payload-field"), named(STREAM, "with-source-id")],
    },
    Group { heading: "Buffer", options: &[named(BUFFER, "buffer")] },
    Group { heading: "Reports and log", options: REPORTS },
];

/// The option with this name. An unknown name does not compile.
const fn named(options: &[Opt], name: &str) -> Opt {
    let mut at = 0;
    while !same(options[at].name.as_bytes(), name.as_bytes()) {
        at += 1;
    }
    options[at]
}

/// Compares two texts at compile time, where `==` is not available.
const fn same(one: &[u8], other: &[u8]) -> bool {
    match (one, other) {
        ([], []) => true,
        ([a, one @ ..], [b, other @ ..]) => *a == *b && same(one, other),
        _ => false,
    }
}

/// The options of `run`.
pub(crate) const RUN: &[Group] = &[
    CONNECT,
    Group { heading: "Group", options: GROUP },
    Group { heading: NAMES, options: KEYS },
    Group { heading: "Shards", options: SHARDS },
    Group { heading: "Stream as the source", options: STREAM },
    Group { heading: "Buffer", options: BUFFER },
    Group { heading: "Reports and log", options: REPORTS },
];

/// The common options of `run`: `-h` shows only these, and `--help` shows them first.
pub(crate) const COMMON: &[&str] = &[
    "redis-addr",
    "url",
    "password-file",
    "config",
    "consumers",
    "source",
    "input",
    "output",
    "overflow",
    "json",
];

const NAMES: &str = "Names in Redis";

const CONNECT: Group = Group {
    heading: "Connection",
    options: &[
        Opt::new(
            "url",
            Kind::Value("URL"),
            "redis://localhost:6379",
            "Server URL: redis://, rediss:// (TLS), unix:// or redis+sentinel://",
            |s, text| put(&mut s.config.address, text.parse().map_err(|e| format!("{e}"))),
        )
        .more("It may contain user, password and database. redis+sentinel://HOST:PORT,HOST:PORT/SERVICE is the primary that Sentinel names; add ?sentinel_user=U&sentinel_password=P if the sentinels need a login. Other users of this machine can see a password given here: prefer --password-file or RCG_URL. Without RCG_URL, REDIS_URL is used")
        .short('u')
        .or_variable("REDIS_URL"),
        Opt::new("redis-addr", Kind::Value("HOST:PORT"), "", "Host and port of the server: shorthand for --url", |s, text| {
            put(&mut s.config.address, Address::from_host_and_port(text).map_err(|e| e.to_string()))
        }),
        Opt::new(
            "password-file",
            Kind::File,
            "",
            "File with the password, read again at every connect. One newline at the end is ignored",
            |s, text| put(&mut s.password_file, Ok(Some(text.into()))),
        ),
        Opt::new(
            "tls-ca",
            Kind::File,
            "",
            "CA certificates (PEM) to trust instead of the system's",
            |s, text| put(&mut s.config.tls.ca, Ok(Some(text.into()))),
        ),
        Opt::new("tls-cert", Kind::File, "", "Client certificate (PEM), if the server asks for one", |s, text| {
            put(&mut s.config.tls.cert, Ok(Some(text.into())))
        }),
        Opt::new("tls-key", Kind::File, "", "Private key (PEM) of --tls-cert", |s, text| {
            put(&mut s.config.tls.key, Ok(Some(text.into())))
        }),
        Opt::new("config", Kind::File, "", "TOML file with any of these options, under the same names", |_, _| Ok(()))
            .not_in_file(),
    ],
};

const GROUP: &[Opt] = &[
    Opt::new("consumers", Kind::Value("N"), "3", "Number of consumers, and so of messages processed at the same time", |s, text| {
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
        "Delay before the second attempt at a message. Each further delay is four times as long: 0.1, 0.4, 1.6 and 6.4 s by default. With --retry-delay 5s, five attempts span about 85 s",
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

const KEYS: &[Opt] = &[
    Opt::new("input", Kind::Value("NAME"), "messages:published", "Channel or stream to read", |s, text| {
        put(&mut s.config.input, Ok(text.to_owned()))
    }),
    Opt::new(
        "output",
        Kind::Value("NAME"),
        "messages:processed",
        "Stream to append records to",
        |s, text| put(&mut s.config.output, Ok(text.to_owned())),
    ),
    Opt::new(
        "rejected",
        Kind::Value("NAME"),
        "messages:rejected",
        "Stream for messages that could not be processed",
        |s, text| put(&mut s.config.rejected, Ok(text.to_owned())),
    ),
    IDS_KEY,
    Opt::new(
        "maxlen",
        Kind::Value("N"),
        "none",
        "Trim the output to about this many entries; without it, the output only grows",
        |s, text| put(&mut s.config.maxlen, optional(text, number)),
    ),
    Opt::new(
        "rejected-maxlen",
        Kind::Value("N"),
        "none",
        "Trim the rejected stream to about this many entries; without it, the stream only grows",
        |s, text| put(&mut s.config.rejected_maxlen, optional(text, number)),
    ),
];

const IDS_KEY: Opt = Opt::new(
    "ids-key",
    Kind::Value("NAME"),
    "consumer:ids",
    "List of the ids of living consumers",
    |s, text| put(&mut s.config.ids_key, Ok(text.to_owned())),
);

const SHARDS: &[Opt] = &[
    Opt::new(
        "shards",
        Kind::Value("N"),
        "",
        "Number of shards of the input",
        |s, text| put(&mut s.config.shards.get_or_insert_default().count, number(text)),
    )
    .more("The shards are messages:published:0 and so on, each with its own output, ids and --consumers [default: 16 with --source sharded, --shard-tags or --only-shards, otherwise none]"),
    Opt::new(
        "shard-tags",
        Kind::Switch,
        "false",
        "Name the shards messages:published:{0} and so on: all keys of a shard are then on one node of a cluster, and move together",
        |s, text| match switch(text)? {
            false if s.config.shards.is_none() => Ok(()),
            tags => put(&mut s.config.shards.get_or_insert_default().tags, Ok(tags)),
        },
    ),
    Opt::new(
        "only-shards",
        Kind::Value("SHARDS"),
        "",
        "Shards that this process runs, for example 0-7 or 0,2,5-9; other processes run the rest [default: all]",
        |s, text| {
            let only = text.parse().map(Some).map_err(|problem: ShardSetError| problem.to_string());
            put(&mut s.config.shards.get_or_insert_default().only, only)
        },
    ),
];

const STREAM: &[Opt] = &[
    Opt::new(
        "group",
        Kind::Value("NAME"),
        "processors",
        "Consumer group of the stream. Group and stream are created if they do not exist",
        |s, text| put(&mut s.config.stream.group, Ok(text.to_owned())),
    ),
    Opt::new(
        "from",
        Kind::Value("WHERE"),
        "beginning",
        "Where a newly created group starts: beginning, new (entries appended from then on), or after the entry with this id",
        |s, text| put(&mut s.config.stream.from, begin(text)),
    ),
    Opt::new(
        "payload-field",
        Kind::Value("NAME"),
        "payload",
        "Field that holds a whole JSON object if it is an entry's only field. The fields of other entries are the members",
        |s, text| put(&mut s.config.stream.payload_field, Ok(text.to_owned())),
    ),
    Opt::new(
        "with-source-id",
        Kind::Switch,
        "false",
        "Add the field source_id to each output entry: the id of the input entry",
        |s, text| put(&mut s.config.stream.with_source_id, switch(text)),
    ),
    Opt::new(
        "claim-foreign-after",
        Kind::Value("TIME"),
        "none",
        "Take over entries from other programs' consumers in the group once they have been idle for this long",
        |s, text| put(&mut s.config.stream.claim_foreign_after, optional(text, duration)),
    ),
    Opt::new(
        "trim",
        Kind::Choice(&["never", "acknowledged"]),
        "never",
        "When to remove entries of the input: never, or once every group of the stream has acknowledged them",
        |s, text| {
            let acknowledged = text == "acknowledged";
            put(&mut s.config.stream.trim, Ok(if acknowledged { Trim::Acknowledged } else { Trim::Never }))
        },
    ),
];

const BUFFER: &[Opt] = &[
    Opt::new(
        "buffer",
        Kind::Value("SIZE"),
        "256MiB",
        "Memory for waiting messages, frames and bookkeeping included",
        |s, text| put(&mut s.config.buffer, size(text)),
    ),
    Opt::new(
        "overflow",
        Kind::Choice(&["drop", "wait", "spill"]),
        "drop",
        "What to do with a message when the buffer is full",
        |s, text| {
            let overflow = match text {
                "wait" => Overflow::Wait,
                "spill" => Overflow::Spill,
                _ => Overflow::Drop,
            };
            put(&mut s.config.overflow, Ok(overflow))
        },
    )
    .more("drop: drop and count it. wait: stop reading until there is room; the server disconnects the group when its own buffer is full. spill: move it to a stream and process it later"),
    Opt::new(
        "spill-key",
        Kind::Value("NAME"),
        "",
        "Stream to spill into [default: {messages:processed}:spill, beside the output]",
        |s, text| put(&mut s.config.spill_key, Ok(Some(text.to_owned()))),
    ),
    Opt::new(
        "spill-max",
        Kind::Value("N"),
        "1000000",
        "Number of messages, approximately, that the spill may hold. Further messages are dropped and counted",
        |s, text| put(&mut s.config.spill_max, number(text)),
    ),
    Opt::new(
        "max-payload",
        Kind::Value("SIZE"),
        "1MiB",
        "Longest payload of a channel's message. Longer ones are rejected",
        |s, text| put(&mut s.config.max_payload, size(text)),
    ),
];

const REPORTS: &[Opt] = &[
    Opt::new("report-every", Kind::Value("TIME"), "3s", "Time between two reports", |s, text| {
        let every = duration(text)?;
        if every < Duration::from_millis(10) {
            return Err(format!("{text} is too short; use 10ms or more"));
        }
        put(&mut s.report_every, Ok(every))
    }),
    Opt::new("json", Kind::Switch, "false", "Print reports and the ledger as JSON, one object per line", |s, text| {
        put(&mut s.json, switch(text))
    }),
    Opt::new(
        "log",
        Kind::Value("LEVEL"),
        "info",
        "Log level on stderr: error, warn, info, debug or trace, also per module, for example info,redis_consumer_group=debug. Without RCG_LOG, RUST_LOG is used",
        |s, text| put(&mut s.log.filter, filter(text)),
    )
    .or_foreign_variable("RUST_LOG", |s, text| put(&mut s.log.filter, foreign_filter(text))),
    Opt::new("quiet", Kind::Switch, "false", "Log errors only", |s, text| put(&mut s.log.quiet, switch(text))),
    Opt::new("log-format", Kind::Choice(&["text", "json"]), "text", "Format of the log", |s, text| {
        put(&mut s.log.format, Ok(if text == "json" { LogFormat::Json } else { LogFormat::Text }))
    }),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::settings::Settings;
    use super::*;

    fn options() -> impl Iterator<Item = &'static Opt> {
        RUN.iter().flat_map(|group| group.options)
    }

    #[test]
    fn the_defaults_in_the_help_are_the_defaults() {
        for option in options().filter(|option| !option.default.is_empty()) {
            let mut settings = Settings::default();
            option.apply(&mut settings, option.default).unwrap();
            assert_eq!(settings, Settings::default(), "--{} has another default", option.name);
        }
    }

    #[test]
    fn every_option_has_its_flag_its_variable_and_its_key() {
        let names: BTreeSet<_> = options().map(|option| option.name).collect();
        let variables: BTreeSet<_> = options().map(Opt::variable).collect();
        assert_eq!(names.len(), options().count(), "two options have one name");
        assert_eq!(variables.len(), names.len());
        let without_key: Vec<_> =
            options().filter(|option| !option.in_file).map(|option| option.name).collect();
        assert_eq!(without_key, ["config"]);
        for option in options() {
            assert!(option.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", option.name);
            assert!(!option.help.ends_with('.') && !option.more.ends_with('.'), "--{}", option.name);
        }
    }

    #[test]
    fn the_common_options_exist() {
        for name in COMMON {
            assert!(options().any(|option| option.name == *name), "no option is called {name}");
        }
    }
}
