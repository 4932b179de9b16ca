//! `ids`: lists or removes the ids of consumers.

use std::fmt::Write;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use redis_consumer_group::ids;

use crate::options::{Flags, Group, IDS, Selection};
use crate::printable::printable;
use crate::{stdout, talk};

/// The arguments of `ids`.
#[derive(Debug, Args)]
pub(crate) struct IdsArgs {
    /// What to do
    #[arg(value_enum, default_value_t = Action::List)]
    action: Action,
    #[command(flatten)]
    flags: Flags<Ids>,
}

/// Lists the ids, oldest first, each with the state of its lease; or empties the list. With shards it covers each
/// shard, and the key precedes the id.
pub(crate) async fn run(args: IdsArgs) -> anyhow::Result<ExitCode> {
    let config = args.flags.config()?;
    let keys = match &config.shards {
        Some(shards) => shards.here().map(|shard| shards.name(&config.ids_key, shard)).collect(),
        None => vec![config.ids_key.clone()],
    };
    let mut text = String::new();
    match args.action {
        Action::List => {
            let lists = ids::list_each(&config.address, &config.tls, &keys).await?;
            for (key, listed) in
                keys.iter().zip(lists).flat_map(|(key, ids)| ids.into_iter().map(move |id| (key, id)))
            {
                if config.shards.is_some() {
                    write!(text, "{key}  ")?;
                }
                // Any client may have written any text to the list.
                writeln!(text, "{}  {}", printable(&listed.id), listed.lease)?;
            }
            if text.is_empty() {
                talk::say(format_args!("No consumer is alive in {}.", printable(&keys.join(", "))));
            }
        }
        Action::Clear => {
            let removed = ids::clear_each(&config.address, &config.tls, &keys).await?;
            for (key, removed) in keys.iter().zip(removed) {
                let ids = if removed == 1 { "id" } else { "ids" };
                writeln!(text, "Removed {removed} {ids} from {key}. Living processes put theirs back.")?;
            }
        }
    }
    stdout::print(text.as_bytes()).map(|()| ExitCode::SUCCESS)
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Print each id and the state of its lease
    List,
    /// Empty the list; living processes put their ids back
    Clear,
}

#[derive(Debug, Clone)]
struct Ids;

impl Selection for Ids {
    const GROUPS: &'static [Group] = IDS;
    const COMMON: &'static [&'static str] =
        &["redis-addr", "url", "password-file", "config", "ids-key", "shards", "shard-tags"];
}
