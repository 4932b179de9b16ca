//! A snapshot of the group's state in Redis.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;
use uuid::Uuid;

use super::process::Group;
use crate::entry_id::EntryId;
use crate::redis::registry::Names;

/// The group's state in Redis.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Entries that were not delivered to any consumer.
    pub(super) unread: BTreeSet<EntryId>,
    pub(super) pending: BTreeMap<EntryId, String>,
    /// The entries in the output, and the commits that appended them.
    pub(super) output: Vec<(String, u32)>,
    /// The processes that have a consumer in the group.
    pub(super) consumers: BTreeSet<Uuid>,
    pub(super) tokens: BTreeSet<Uuid>,
    pub(super) leases: BTreeSet<Uuid>,
}

impl Seen {
    /// Reads all of it in one step.
    pub(super) async fn at(eye: &mut MultiplexedConnection, of: &Group) -> Self {
        let Names { input, group, leases, .. } = &of.names;
        let mut ask = redis::cmd("EVAL");
        ask.arg(include_str!("seen.lua")).arg(3).arg(input).arg(&of.output).arg(leases);
        ask.arg(group).arg(format!("{{{input}}}:token:*"));
        let lines: String = ask.query_async(eye).await.unwrap();
        let process = |text: &str| text.rsplit(':').next().unwrap().parse::<Uuid>().unwrap();
        let mut seen = Self::default();
        for line in lines.lines() {
            let words: Vec<_> = line.split(' ').collect();
            match words[..] {
                ["unread", id] => drop(seen.unread.insert(id.parse().unwrap())),
                ["pending", id, holder] => drop(seen.pending.insert(id.parse().unwrap(), holder.to_owned())),
                ["output", entry, commit] => seen.output.push((entry.to_owned(), commit.parse().unwrap())),
                ["consumer", name] => drop(seen.consumers.insert(process(name))),
                ["token", key] => drop(seen.tokens.insert(process(key))),
                ["lease", member] => drop(seen.leases.insert(process(member))),
                _ => unreachable!("{line}"),
            }
        }
        seen
    }
}
