//! `ids`: who is in the list of consumers' ids.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use redis_consumer_group::ids;

use crate::options::{Flags, Group, IDS, Layers, Selection, Settings, Variables};
use crate::printable::printable;
use crate::talk;

/// The arguments of `ids`.
#[derive(Debug, Args)]
pub(crate) struct IdsArgs {
    /// What to do
    #[arg(value_enum, default_value_t = Action::List)]
    action: Action,
    #[command(flatten)]
    flags: Flags<Ids>,
}

/// Lists the ids, oldest first and each with the state of its lease, or empties the list.
pub(crate) async fn run(args: IdsArgs) -> anyhow::Result<ExitCode> {
    let layers = Layers::new(args.flags.texts().clone(), Variables::of_process())?;
    talk::warn(&layers.warnings());
    let config = Settings::read(&layers, IDS)?.config;
    let mut text = String::new();
    match args.action {
        Action::List => {
            for listed in ids::list(&config.address, &config.tls, &config.ids_key).await? {
                // Anybody may have put anything there.
                writeln!(text, "{}  {}", printable(&listed.id), listed.lease)?;
            }
        }
        Action::Clear => {
            let removed = ids::clear(&config.address, &config.tls, &config.ids_key).await?;
            writeln!(
                text,
                "Removed {removed} ids from {}. Living processes put theirs back.",
                config.ids_key
            )?;
        }
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Print each id and the state of its lease
    List,
    /// Empty the list. Living processes put their ids back
    Clear,
}

#[derive(Debug, Clone)]
struct Ids;

impl Selection for Ids {
    const GROUPS: &'static [Group] = IDS;
}
