//! `rejected replay`.

use std::process::ExitCode;

use clap::Args;
use redis_consumer_group::{EntryId, SourceKind};

use crate::options::{Flags, Group, REPLAY, Selection, Settings};
use crate::run;

/// Process rejected messages again
///
/// Processes the messages that are in the rejected stream now, with the processor of `run`. One transaction appends the
/// record and removes the message from the rejected stream. A message that is rejected again becomes a new entry
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Replay only the entry with this id. May be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<EntryId>,
    /// Replay only messages whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Replay no more than N messages, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    flags: Flags<Replay>,
}

#[derive(Debug, Clone)]
struct Replay;

impl Selection for Replay {
    const GROUPS: &'static [Group] = REPLAY;
    const COMMON: &'static [&'static str] = &[
        "redis-addr",
        "url",
        "password-file",
        "config",
        "consumers",
        "output",
        "rejected",
        "max-attempts",
        "shards",
        "shard-tags",
    ];
}

pub(super) async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    run::group(move || {
        Settings::read_and(&args.flags.layers()?, REPLAY, |config| {
            config.source = SourceKind::Rejected;
            config.replay.ids.clone_from(&args.id);
            config.replay.reason.clone_from(&args.reason);
            config.replay.count = args.count;
        })
    })
    .await
}
