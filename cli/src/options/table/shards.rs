//! Options for an input that is split into shards.

use redis_consumer_group::ShardSetError;

use crate::options::option::{Group, Kind, Opt};
use crate::options::value::{number, put, switch};

pub(super) const GROUP: Group = Group { heading: "Shards", options: OPTIONS };

const OPTIONS: &[Opt] = &[
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
