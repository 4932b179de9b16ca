//! The server's counts of the stream and the group: what is left to read, and whether the counts can be relied on.

use std::collections::HashMap;
use std::time::Duration;

use redis::FromRedisValue;

use super::{Registry, scripts};
use crate::entry_id::EntryId;
use crate::redis::fault::Fault;

impl Registry {
    /// The id of the last entry that was ever added to the stream.
    pub(crate) async fn last_entry(&mut self) -> Result<EntryId, Fault> {
        let mut ask = redis::cmd("XINFO");
        ask.arg("STREAM").arg(&self.names.input);
        let mut info: HashMap<String, redis::Value> = self.call(&ask).await?;
        let id = info.remove("last-generated-id").and_then(|id| String::from_redis_value(id).ok());
        id.and_then(|id| id.parse().ok())
            .ok_or_else(|| Fault::Transient("the server does not report the last entry's id".to_owned()))
    }

    /// How many entries the stream has.
    pub(crate) async fn length(&mut self) -> Result<u64, Fault> {
        let mut ask = redis::cmd("XLEN");
        ask.arg(&self.names.input);
        self.call(&ask).await
    }

    /// How many entries the group has not read yet, if Redis knows.
    pub(crate) async fn lag(&mut self) -> Result<Option<u64>, Fault> {
        let mut ask = redis::cmd("XINFO");
        ask.arg("GROUPS").arg(&self.names.input);
        let groups: Vec<HashMap<String, redis::Value>> = self.call(&ask).await?;
        let ours = groups.into_iter().find(|group| {
            group.get("name").is_some_and(|name| {
                Vec::<u8>::from_redis_value_ref(name).is_ok_and(|name| name == self.names.group.as_bytes())
            })
        });
        Ok(ours.and_then(|mut group| Option::<u64>::from_redis_value(group.remove("lag")?).ok().flatten()))
    }

    /// How many entries are pending, and the age of the oldest one by the server's clock.
    pub(crate) async fn backlog(&mut self) -> Result<(u64, Option<Duration>), Fault> {
        let mut ask = redis::cmd("XPENDING");
        ask.arg(&self.names.input).arg(&self.names.group);
        let (count, least, _, _): (u64, Option<String>, redis::Value, redis::Value) = self.call(&ask).await?;
        let (seconds, micros): (u64, u64) = self.call(&redis::cmd("TIME")).await?;
        let now = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let oldest = least.and_then(|id| id.parse::<EntryId>().ok());
        Ok((count, oldest.map(|id| now.saturating_sub(Duration::from_millis(id.ms)))))
    }

    /// Whether the group's count of entries read is reliable. Repairs it where possible.
    pub(crate) async fn verify(&mut self) -> Result<bool, Fault> {
        let verdict: String = self.call(&scripts::verify(&self.names)).await?;
        Ok(verdict != "unknown")
    }

    /// Since when the server's counts are its own, in ms since 1970 by its clock: since its start, if it never was a
    /// replica. `None` if this is unknown.
    pub(crate) async fn counting_since(&mut self) -> Result<Option<u64>, Fault> {
        let mut ask = redis::cmd("INFO");
        ask.arg("server").arg("replication");
        // Most users have no permission for `INFO`, and most do not need this value.
        let Ok(info) = self.call::<redis::InfoDict>(&ask).await else { return Ok(None) };
        let number = |name| info.get::<u64>(name);
        let was_replica =
            info.get::<String>("master_replid2").is_none_or(|id| !id.trim_matches('0').is_empty());
        // The uptime is a difference of two times in whole seconds, so it may be nearly a second too long.
        let uptime = || Some(number("uptime_in_seconds")?.saturating_sub(1) * 1_000_000);
        let started = || number("server_time_usec")?.checked_sub(uptime()?);
        Ok(started().filter(|_| !was_replica).map(|micros| micros / 1000))
    }

    /// Counts what was trimmed unread from a stream that is empty now.
    pub(crate) async fn skip(&mut self) -> Result<u64, Fault> {
        self.call(&scripts::skip(&self.names)).await
    }

    /// Repairs the group's count of entries read, after a read that skipped trimmed entries. `last` is the last entry
    /// of that read, and `position` how many were ever added up to it.
    pub(crate) async fn repair(&mut self, last: EntryId, position: u64) -> Result<(), Fault> {
        self.call(&scripts::repair(&self.names, last, position)).await
    }
}
