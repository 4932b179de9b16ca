//! Every option of the program that is also a variable and a key of the file.

use std::time::Duration;

use redis_consumer_group::{Address, Commit, Overflow, ShardSetError, SourceKind, Trim};

use super::option::{Group, Kind, Opt};
use super::settings::LogFormat;
use super::value::{begin, duration, filter, foreign_filter, number, optional, put, size, switch};

/// The options that say which server: the same for every subcommand.
pub(crate) const CONNECTION: &[Group] = &[CONNECT];

/// The options of `ids`.
pub(crate) const IDS: &[Group] =
    &[CONNECT, Group { heading: NAMES, options: &[IDS_KEY] }, Group { heading: "Shards", options: SHARDS }];

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

const NAMES: &str = "Names in Redis";

const CONNECT: Group = Group {
    heading: "Connection",
    options: &[
        Opt::new(
            "url",
            Kind::Value("URL"),
            "redis://localhost:6379",
            "The server: redis://, rediss:// (TLS) or unix://, with user, password and database; or the primary that sentinels name: redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, their own login behind it as ?sentinel_user=U&sentinel_password=P. Others on this machine can read a password given here: prefer --password-file or RCG_URL. The variable is RCG_URL, else REDIS_URL",
            |s, text| put(&mut s.config.address, text.parse().map_err(|e| format!("{e}"))),
        )
        .short('u')
        .or_variable("REDIS_URL"),
        Opt::new("redis-addr", Kind::Value("HOST:PORT"), "", "The server, in short, instead of --url", |s, text| {
            put(&mut s.config.address, Address::from_host_and_port(text).map_err(|e| e.to_string()))
        }),
        Opt::new(
            "password-file",
            Kind::File,
            "",
            "A file with the password. One newline at its end does not count",
            |s, text| put(&mut s.password_file, Ok(Some(text.into()))),
        ),
        Opt::new(
            "tls-ca",
            Kind::File,
            "",
            "The certificates (PEM) to trust instead of the system's",
            |s, text| put(&mut s.config.tls.ca, Ok(Some(text.into()))),
        ),
        Opt::new("tls-cert", Kind::File, "", "Our certificate (PEM), where the server asks for one", |s, text| {
            put(&mut s.config.tls.cert, Ok(Some(text.into())))
        }),
        Opt::new("tls-key", Kind::File, "", "The private key (PEM) of --tls-cert", |s, text| {
            put(&mut s.config.tls.key, Ok(Some(text.into())))
        }),
        Opt::new("config", Kind::File, "", "A TOML file with any of these options, named as here", |_, _| Ok(()))
            .not_in_file(),
    ],
};

const GROUP: &[Opt] = &[
    Opt::new("consumers", Kind::Value("N"), "3", "How many consumers work at the same time", |s, text| {
        put(&mut s.config.consumers, number(text))
    }),
    Opt::new(
        "source",
        Kind::Choice(&["pubsub", "sharded", "stream"]),
        "pubsub",
        "Where messages come from: a channel, sharded channels of a cluster, or a stream that any number of processes share through its consumer group",
        |s, text| {
            let source = match text {
                "sharded" => SourceKind::Sharded,
                "stream" => SourceKind::Stream,
                _ => SourceKind::PubSub,
            };
            put(&mut s.config.source, Ok(source))
        },
    ),
    Opt::new(
        "commit",
        Kind::Choice(&["atomic", "at-least-once"]),
        "atomic",
        "How records are appended: in numbered transactions that acknowledge as well (nothing twice), or as plain XADD, and acknowledged afterwards (after a broken connection some may be there twice)",
        |s, text| {
            let atomic = text == "atomic";
            put(&mut s.config.commit, Ok(if atomic { Commit::Atomic } else { Commit::AtLeastOnce }))
        },
    ),
    Opt::new(
        "max-attempts",
        Kind::Value("N"),
        "5",
        "How often a message is tried before it is rejected",
        |s, text| put(&mut s.config.max_attempts, number(text)),
    ),
    Opt::new("processor-timeout", Kind::Value("TIME"), "none", "How long one attempt may take", |s, text| {
        put(&mut s.config.processor_timeout, optional(text, duration))
    }),
    Opt::new(
        "max-messages",
        Kind::Value("N"),
        "none",
        "Stop, as with SIGTERM, after so many messages",
        |s, text| put(&mut s.config.max_messages, optional(text, number)),
    ),
    Opt::new(
        "drain-timeout",
        Kind::Value("TIME"),
        "10s",
        "How long a stop may take to finish what was received",
        |s, text| put(&mut s.config.drain_timeout, duration(text)),
    ),
    Opt::new(
        "keep",
        Kind::Value("TIME"),
        "5s",
        "How long records are kept that no replica is known to have, to be appended again after a failover: in a cluster, and behind sentinels",
        |s, text| put(&mut s.config.keep, duration(text)),
    ),
    Opt::new(
        "lease",
        Kind::Value("TIME"),
        "10s",
        "How long this process may show no sign of life before its ids are removed, and its entries of a stream taken over by others",
        |s, text| put(&mut s.config.lease, duration(text)),
    ),
];

const KEYS: &[Opt] = &[
    Opt::new(
        "input",
        Kind::Value("NAME"),
        "messages:published",
        "The channel that is read, or the stream",
        |s, text| put(&mut s.config.input, Ok(text.to_owned())),
    ),
    Opt::new(
        "output",
        Kind::Value("NAME"),
        "messages:processed",
        "The stream that records are appended to",
        |s, text| put(&mut s.config.output, Ok(text.to_owned())),
    ),
    Opt::new(
        "rejected",
        Kind::Value("NAME"),
        "messages:rejected",
        "The stream for what could not be processed",
        |s, text| put(&mut s.config.rejected, Ok(text.to_owned())),
    ),
    IDS_KEY,
    Opt::new(
        "maxlen",
        Kind::Value("N"),
        "none",
        "Trim the output to about so many entries; without it the output only grows",
        |s, text| put(&mut s.config.maxlen, optional(text, number)),
    ),
];

const IDS_KEY: Opt = Opt::new(
    "ids-key",
    Kind::Value("NAME"),
    "consumer:ids",
    "The list of the living consumers' ids",
    |s, text| put(&mut s.config.ids_key, Ok(text.to_owned())),
);

const SHARDS: &[Opt] = &[
    Opt::new(
        "shards",
        Kind::Value("N"),
        "",
        "How many shards the input has: messages:published:0 and so on, each with its output, ids and --consumers of its own [default: 16 with --source sharded, --shard-tags or --only-shards, else none]",
        |s, text| put(&mut s.config.shards.get_or_insert_default().count, number(text)),
    ),
    Opt::new(
        "shard-tags",
        Kind::Switch,
        "false",
        "Name them messages:published:{0} instead: then everything of a shard is on one node of a cluster, and moves together",
        |s, text| match switch(text)? {
            false if s.config.shards.is_none() => Ok(()),
            tags => put(&mut s.config.shards.get_or_insert_default().tags, Ok(tags)),
        },
    ),
    Opt::new(
        "only-shards",
        Kind::Value("SHARDS"),
        "",
        "The shards that run here, as in 0-7 or 0,2,5-9; the others run elsewhere [default: all]",
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
        "The stream's consumer group. It is created if it is missing, and so is the stream",
        |s, text| put(&mut s.config.stream.group, Ok(text.to_owned())),
    ),
    Opt::new(
        "from",
        Kind::Value("WHERE"),
        "beginning",
        "Where a group begins that is created: beginning, new (what is appended from then on), or after the entry of this id",
        |s, text| put(&mut s.config.stream.from, begin(text)),
    ),
    Opt::new(
        "payload-field",
        Kind::Value("NAME"),
        "payload",
        "An entry with this one field holds a whole JSON object in it. Of other entries the fields are the members",
        |s, text| put(&mut s.config.stream.payload_field, Ok(text.to_owned())),
    ),
    Opt::new(
        "with-source-id",
        Kind::Switch,
        "false",
        "Give each output entry a field source_id: the id of the entry that it was made of",
        |s, text| put(&mut s.config.stream.with_source_id, switch(text)),
    ),
    Opt::new(
        "claim-foreign-after",
        Kind::Value("TIME"),
        "none",
        "Take entries over from consumers of the group that are not ours, once those have not touched them for so long",
        |s, text| put(&mut s.config.stream.claim_foreign_after, optional(text, duration)),
    ),
    Opt::new(
        "trim",
        Kind::Choice(&["never", "acknowledged"]),
        "never",
        "Remove entries of the input once every group of the stream has acknowledged them",
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
        "The memory that waiting messages may hold, frames and bookkeeping included",
        |s, text| put(&mut s.config.buffer, size(text)),
    ),
    Opt::new(
        "overflow",
        Kind::Choice(&["drop", "wait", "spill"]),
        "drop",
        "A message that finds the buffer full is dropped and counted, or waited for (then the server cuts us off when its own buffer is full), or spilled into a stream and processed when there is room again",
        |s, text| {
            let overflow = match text {
                "wait" => Overflow::Wait,
                "spill" => Overflow::Spill,
                _ => Overflow::Drop,
            };
            put(&mut s.config.overflow, Ok(overflow))
        },
    ),
    Opt::new(
        "spill-key",
        Kind::Value("NAME"),
        "",
        "The stream that is spilled into [default: {messages:processed}:spill, beside the output]",
        |s, text| put(&mut s.config.spill_key, Ok(Some(text.to_owned()))),
    ),
    Opt::new(
        "spill-max",
        Kind::Value("N"),
        "1000000",
        "About how many messages may be in the spill. What finds it full is dropped and counted",
        |s, text| put(&mut s.config.spill_max, number(text)),
    ),
    Opt::new(
        "max-payload",
        Kind::Value("SIZE"),
        "1MiB",
        "A longer payload that was published to a channel is rejected",
        |s, text| put(&mut s.config.max_payload, size(text)),
    ),
];

const REPORTS: &[Opt] = &[
    Opt::new("report-every", Kind::Value("TIME"), "3s", "The time between two reports", |s, text| {
        let every = duration(text)?;
        if every < Duration::from_millis(10) {
            return Err(format!("a report every {text} would report nothing else; take 10ms or more"));
        }
        put(&mut s.report_every, Ok(every))
    }),
    Opt::new("json", Kind::Switch, "false", "Reports and ledger as JSON, one object a line", |s, text| {
        put(&mut s.json, switch(text))
    }),
    Opt::new(
        "log",
        Kind::Value("LEVEL"),
        "info",
        "What is logged on stderr: error, warn, info, debug or trace, also for a part, as in info,redis_consumer_group=debug. The variable is RCG_LOG, else RUST_LOG",
        |s, text| put(&mut s.log.filter, filter(text)),
    )
    .or_foreign_variable("RUST_LOG", |s, text| put(&mut s.log.filter, foreign_filter(text))),
    Opt::new("quiet", Kind::Switch, "false", "Log errors only", |s, text| put(&mut s.log.quiet, switch(text))),
    Opt::new("log-format", Kind::Choice(&["text", "json"]), "text", "How the log is written", |s, text| {
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
            assert!(!option.help.ends_with('.'), "--{}", option.name);
        }
    }

    #[test]
    fn every_option_of_the_library_can_be_set() {
        // The names that `Config::validate` blames are names of options.
        let blamed = [
            "consumers",
            "input",
            "output",
            "rejected",
            "ids-key",
            "buffer",
            "max-payload",
            "lease",
            "overflow",
        ];
        let more = ["max-attempts", "maxlen", "max-messages", "processor-timeout", "tls-cert", "tls-ca"];
        let stream =
            ["group", "payload-field", "claim-foreign-after", "spill-key", "spill-max", "commit", "from"];
        let shards = ["source", "shards", "only-shards"];
        for name in blamed.iter().chain(&more).chain(&stream).chain(&shards) {
            assert!(options().any(|option| option.name == *name), "no option is called {name}");
        }
    }
}
