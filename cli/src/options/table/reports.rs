//! Options for the reports on stdout and the log on stderr.

use std::time::Duration;

use crate::options::option::{Group, Kind, Opt};
use crate::options::settings::LogFormat;
use crate::options::value::{duration, filter, foreign_filter, put, switch};

pub(super) const GROUP: Group = Group { heading: "Reports and log", options: OPTIONS };

const OPTIONS: &[Opt] = &[
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
    Opt::new("quiet", Kind::Switch, "false", "Log only warnings and errors", |s, text| put(&mut s.log.quiet, switch(text))),
    Opt::new("log-format", Kind::Choice(&["text", "json"]), "text", "Format of the log", |s, text| {
        put(&mut s.log.format, Ok(if text == "json" { LogFormat::Json } else { LogFormat::Text }))
    }),
];
