//! The streams of rejected messages: one, or one for each shard.

use redis_consumer_group::client::Streams;
use redis_consumer_group::{Config, EntryId};

use super::entry::Entry;
use crate::options::{Flags, Group, REJECTED, Selection};

/// The options of `rejected list` and `rejected clear`.
#[derive(Debug, Clone)]
pub(super) struct Rejected;

impl Selection for Rejected {
    const GROUPS: &'static [Group] = REJECTED;
    const COMMON: &'static [&'static str] =
        &["redis-addr", "url", "password-file", "config", "rejected", "shards", "shard-tags"];
}

/// The streams that the options name, and the client that queries them.
pub(super) struct RejectedStreams {
    pub(super) keys: Vec<String>,
    /// Whether there are shards.
    pub(super) sharded: bool,
    streams: Streams,
}

/// Entries that one command reads: they occupy the server for about a millisecond.
pub(super) const PAGE: usize = 500;

impl RejectedStreams {
    /// Reads the options. Does not connect yet.
    pub(super) fn of(flags: &Flags<Rejected>) -> anyhow::Result<Self> {
        let Config { address, tls, rejected, shards, .. } = flags.config()?;
        let keys = match &shards {
            Some(shards) => shards.here().map(|shard| shards.name(&rejected, shard)).collect(),
            None => vec![rejected],
        };
        let streams = Streams::new(&address, &tls, "rejected")?;
        Ok(Self { keys, sharded: shards.is_some(), streams })
    }

    /// The number of entries of a stream.
    pub(super) async fn length(&mut self, key: &str) -> anyhow::Result<u64> {
        Ok(self.streams.ask("XLEN", key, &[]).await?)
    }

    /// Entries from this one on, the oldest first.
    pub(super) async fn from(
        &mut self,
        key: &str,
        from: EntryId,
        count: usize,
    ) -> anyhow::Result<Vec<Entry>> {
        let (from, count) = (from.to_string(), count.to_string());
        Ok(self.streams.ask("XRANGE", key, &[&from, "+", "COUNT", &count]).await?)
    }

    /// Entries up to this one, the newest first.
    pub(super) async fn up_to(&mut self, key: &str, to: &str, count: usize) -> anyhow::Result<Vec<Entry>> {
        Ok(self.streams.ask("XREVRANGE", key, &[to, "-", "COUNT", &count.to_string()]).await?)
    }

    /// One entry, if it is there.
    pub(super) async fn one(&mut self, key: &str, id: EntryId) -> anyhow::Result<Option<Entry>> {
        Ok(self.from(key, id, 1).await?.pop().filter(|entry| entry.id == id))
    }

    /// Removes entries with an id below this one and returns their number. Works in steps that do not block the server
    /// for long.
    pub(super) async fn remove_before(&mut self, key: &str, end: EntryId) -> anyhow::Result<u64> {
        const STEP: &str = "10000";
        let end = end.to_string();
        let mut removed = 0;
        loop {
            let step: u64 = self.streams.ask("XTRIM", key, &["MINID", "~", &end, "LIMIT", STEP]).await?;
            removed += step;
            if step == 0 {
                return Ok(removed + self.streams.ask::<u64>("XTRIM", key, &["MINID", &end]).await?);
            }
        }
    }

    /// Removes the entries with these ids and returns how many existed.
    pub(super) async fn remove(&mut self, key: &str, ids: &[EntryId]) -> anyhow::Result<u64> {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let mut removed = 0;
        for some in ids.chunks(PAGE) {
            removed += self.streams.ask::<u64>("XDEL", key, some).await?;
        }
        Ok(removed)
    }
}

/// The next id.
pub(super) fn after(id: EntryId) -> EntryId {
    let EntryId { ms, seq } = id;
    match seq.checked_add(1) {
        Some(seq) => EntryId { ms, seq },
        None => EntryId { ms: ms.saturating_add(1), seq: 0 },
    }
}
