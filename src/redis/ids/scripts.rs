//! The atomic steps on the ids' keys, as commands and their replies.
//!
//! Each call sends the whole script with EVAL, about 2 KB. At one call in three seconds that costs less than two more
//! permissions, and than handling a server that has forgotten a script.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, ParsingError, Value, cmd};
use uuid::Uuid;

use super::Names;
use super::about::millis;
use super::text::Text;

/// The most ids that one call touches, so that a list of thousands does not block the server.
pub(super) const CHUNK: usize = 50;

/// The most processes that a renewal returns.
pub(super) const OTHERS: usize = 50;

/// All commands that the ids need, those in the scripts included, for ACL rules.
pub(super) const COMMANDS: [&str; 15] = [
    "eval", "time", "zscore", "zadd", "zrange", "zrem", "lpos", "rpush", "lrem", "sadd", "spop", "hset",
    "hmget", "hdel", "unlink",
];

const RENEW: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/renew.lua"));
const REMOVE: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/remove.lua"));
const FORGET: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/forget.lua"));

/// The result of a renewal.
#[derive(Debug)]
pub(super) struct Renewed {
    /// Whether this process had no valid lease.
    pub(super) lapsed: bool,
    /// How many of the given ids were not in the list and are now at its end.
    pub(super) put_back: usize,
    /// How many of the given ids the process had not held before.
    pub(super) held_anew: usize,
    /// Processes whose lease has lapsed, the longest ago first, at most `OTHERS`.
    pub(super) lapsed_others: Vec<Uuid>,
    /// Living processes, the caller included, the last renewed first, at most `OTHERS`.
    pub(super) living: Vec<Uuid>,
}

/// The result of an attempt to remove what a process left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// The process lives, so others may not remove it.
    Lives,
    /// The caller's own lease has lapsed, so it may not judge others.
    CallerLapsed,
}

/// Renews the lease of `process`, and puts back the missing ones of `ids`, at most `CHUNK`.
pub(super) fn renew(names: &Names, process: Uuid, lease: Duration, about: &str, ids: &[Uuid]) -> Cmd {
    debug_assert!(ids.len() <= CHUNK);
    let mut call = call(RENEW, names, process);
    call.arg(text(process)).arg(millis(lease)).arg(about).arg(OTHERS);
    for id in ids {
        call.arg(text(*id));
    }
    call
}

/// Removes up to `CHUNK` ids of `process` from the list. Reply: `(Verdict, usize)`. Fewer than `CHUNK`: none are left.
pub(super) fn remove(names: &Names, caller: Uuid, process: Uuid) -> Cmd {
    let mut call = call(REMOVE, names, process);
    call.arg(text(caller)).arg(text(process)).arg(CHUNK);
    call
}

/// Deletes the lease of `process`. Reply: `Verdict`.
pub(super) fn forget(names: &Names, caller: Uuid, process: Uuid) -> Cmd {
    let mut call = call(FORGET, names, process);
    call.arg(text(caller)).arg(text(process));
    call
}

impl FromRedisValue for Renewed {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        type Reply = (bool, usize, usize, Vec<Text>, Vec<Text>);
        let (lapsed, put_back, held_anew, lapsed_others, living) = Reply::from_redis_value(value)?;
        // A name that is not a UUID is not a process of ours.
        let processes = |names: Vec<Text>| names.iter().filter_map(|name| name.0.parse().ok()).collect();
        let (lapsed_others, living) = (processes(lapsed_others), processes(living));
        Ok(Self { lapsed, put_back, held_anew, lapsed_others, living })
    }
}

impl FromRedisValue for Verdict {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match String::from_redis_value(value)?.as_str() {
            "done" => Ok(Self::Done),
            "lives" => Ok(Self::Lives),
            "caller lapsed" => Ok(Self::CallerLapsed),
            other => Err(format!("unexpected verdict of a script: {other}").into()),
        }
    }
}

fn call(script: &str, names: &Names, process: Uuid) -> Cmd {
    let mut call = cmd("EVAL");
    let keys = [&names.ids, &names.leases, &names.processes, &names.held_by(process)];
    call.arg(script).arg(keys.len()).arg(&keys[..]);
    call
}

fn text(id: Uuid) -> String {
    id.to_string()
}
