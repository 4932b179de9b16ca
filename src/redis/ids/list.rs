//! The ids as shown to a person: which are in the list, and when their processes last renewed.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{RedisError, cmd};
use uuid::Uuid;

use super::text::Text;
use super::{About, IdsError, Names, Purpose};

/// The commands that listing needs, for ACL rules.
pub(super) const LISTING: [&str; 5] = ["lrange", "zrange", "hgetall", "smembers", "time"];

/// The commands that clearing needs.
pub(super) const CLEARING: [&str; 1] = ["lpop"];

/// One entry of the list of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedId {
    /// The id in the list. Ours are UUIDs; other programs' may be anything. Bytes that are not UTF-8 are replaced.
    /// Escape it before you show it.
    pub id: String,
    /// The process that holds the id.
    pub process: Option<String>,
    /// The state of that process's lease.
    pub lease: Lease,
}

/// The state of the lease that covers an id. `Display` gives it as the program prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lease {
    /// No process holds the id. It belongs to another program, and stays until that one removes it.
    None,
    /// Its process lives, as far as the server knows.
    Live {
        /// The time since the last renewal. `None` if the process does not publish the length of its lease.
        renewed: Option<Duration>,
        /// The time until the lease lapses, unless it is renewed.
        left: Duration,
    },
    /// Its process is dead or cut off. The next process to look removes the id.
    Lapsed {
        /// The time since the lease lapsed.
        since: Duration,
    },
}

/// All ids, oldest first, each with its lease.
///
/// Reads in several steps: an id whose process leaves in between is shown without a lease.
pub(crate) async fn list(
    connection: &mut impl ConnectionLike,
    ids_key: &str,
) -> Result<Vec<ListedId>, IdsError> {
    let names = Names::new(ids_key);
    read(connection, &names).await.map_err(|source| IdsError::new(ids_key, Purpose::List, source))
}

/// Empties the list. Returns how many ids it had. Living processes put theirs back at their next renewal.
///
/// One `LPOP` removes them all. It fails on a key of another type, which `UNLINK` would delete.
pub(crate) async fn clear(connection: &mut impl ConnectionLike, ids_key: &str) -> Result<u64, IdsError> {
    let all = i32::MAX;
    let removed: Result<Option<Vec<Text>>, _> =
        cmd("LPOP").arg(ids_key).arg(all).query_async(connection).await;
    match removed {
        Ok(ids) => Ok(ids.map_or(0, |ids| ids.len() as u64)),
        Err(source) => Err(IdsError::new(ids_key, Purpose::Clear, source)),
    }
}

async fn read(connection: &mut impl ConnectionLike, names: &Names) -> Result<Vec<ListedId>, RedisError> {
    let ids: Vec<Text> = cmd("LRANGE").arg(&names.ids).arg(0).arg(-1).query_async(connection).await?;
    let leases: Vec<(Text, f64)> =
        cmd("ZRANGE").arg(&names.leases).arg(0).arg(-1).arg("WITHSCORES").query_async(connection).await?;
    let abouts: HashMap<Text, Text> = cmd("HGETALL").arg(&names.processes).query_async(connection).await?;
    let (seconds, micros): (u64, u64) = cmd("TIME").query_async(connection).await?;
    let now = Duration::from_secs(seconds) + Duration::from_micros(micros);

    let mut holders = HashMap::new();
    for (name, expiry) in leases {
        let Ok(process) = name.0.parse::<Uuid>() else { continue };
        let about = abouts.get(&name).and_then(|text| About::from_json(&text.0));
        // A script of ours wrote whole milliseconds, far below 2^53.
        let expiry = Duration::from_millis(expiry as u64);
        let lease = Lease::at(now, expiry, about.map(|about| about.lease));
        let held: Vec<Text> = cmd("SMEMBERS").arg(names.held_by(process)).query_async(connection).await?;
        holders.extend(held.into_iter().map(|Text(id)| (id, (process, lease))));
    }
    let listed = ids.into_iter().map(|Text(id)| match holders.get(&id) {
        Some(&(process, lease)) => ListedId { id, process: Some(process.to_string()), lease },
        None => ListedId { id, process: None, lease: Lease::None },
    });
    Ok(listed.collect())
}

impl Lease {
    /// Both times by the server's clock.
    fn at(now: Duration, expiry: Duration, length: Option<Duration>) -> Self {
        match expiry.checked_sub(now) {
            Some(left) => Self::Live { renewed: length.map(|length| length.saturating_sub(left)), left },
            None => Self::Lapsed { since: now - expiry },
        }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no lease"),
            Self::Live { renewed: Some(age), .. } => write!(f, "renewed {} ago", Age(*age)),
            Self::Live { renewed: None, left } => write!(f, "lapses in {}", Age(*left)),
            Self::Lapsed { since } => write!(f, "lapsed {} ago", Age(*since)),
        }
    }
}

/// The precision that a person wants: `1.2 s`, `20 s`, `5 min`, `3 h`.
struct Age(Duration);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            0..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            seconds @ 10..120 => write!(f, "{seconds} s"),
            seconds @ 120..7200 => write!(f, "{} min", seconds / 60),
            seconds => write!(f, "{} h", seconds / 3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_tells_its_age() {
        let (now, length) = (1000 * SECOND, Some(10 * SECOND));
        let at = |expiry, length| Lease::at(now, expiry, length).to_string();
        assert_eq!(Lease::None.to_string(), "no lease");
        assert_eq!(at(Duration::from_millis(1_008_800), length), "renewed 1.2 s ago");
        assert_eq!(at(1006 * SECOND, None), "lapses in 6.0 s");
        assert_eq!(at(980 * SECOND, length), "lapsed 20 s ago");
        assert_eq!(at(700 * SECOND, length), "lapsed 5 min ago");
        assert_eq!(Lease::at(9999 * SECOND, SECOND, length).to_string(), "lapsed 2 h ago");
    }
}
