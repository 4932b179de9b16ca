//! The steps on the ids' keys that must be atomic, as commands and their replies.
//!
//! They are sent with EVAL each time, about 2 KB: at one call in three seconds that costs less than it would
//! to ask for two more permissions and to handle a server that has forgotten a script.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, ParsingError, Value, cmd};
use uuid::Uuid;

use super::Names;
use super::about::millis;
use super::text::Text;

/// The most ids that one call touches, so that a list of thousands does not stall the server.
pub(super) const CHUNK: usize = 50;

/// The most processes that a renewal names.
pub(super) const OTHERS: usize = 50;

/// The commands that the ids need, the scripts' own among them, for the ACL.
pub(super) const COMMANDS: [&str; 15] = [
    "eval", "time", "zscore", "zadd", "zrange", "zrem", "lpos", "rpush", "lrem", "sadd", "spop", "hset",
    "hmget", "hdel", "unlink",
];

const KEEP: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/keep.lua"));
const REMOVE: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/remove.lua"));
const FORGET: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/forget.lua"));

/// What a renewal found.
#[derive(Debug)]
pub(super) struct Kept {
    /// There was no lease of this process that was still valid.
    pub(super) lapsed: bool,
    /// How many of the given ids were not in the list and are now at its end.
    pub(super) put_back: usize,
    /// How many of the given ids the process did not hold yet.
    pub(super) held_anew: usize,
    /// Processes whose lease lapsed, the longest first, at most `OTHERS`.
    pub(super) lapsed_others: Vec<Uuid>,
    /// Processes that live, the calling one among them, the latest renewed first, at most `OTHERS`.
    pub(super) living: Vec<Uuid>,
}

/// What became of an attempt to remove what a process left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// It lives: not for others to remove.
    Lives,
    /// The caller's own lease lapsed: it judges nobody.
    CallerLapsed,
}

/// Renews the lease of `process` and puts back those of `ids`, at most `CHUNK`, that are missing.
pub(super) fn keep(names: &Names, process: Uuid, lease: Duration, about: &str, ids: &[Uuid]) -> Cmd {
    debug_assert!(ids.len() <= CHUNK);
    let mut call = call(KEEP, names, process);
    call.arg(text(process)).arg(millis(lease)).arg(about).arg(OTHERS);
    for id in ids {
        call.arg(text(*id));
    }
    call
}

/// Takes up to `CHUNK` ids of `process` out of the list. Reply: `(Verdict, usize)`; fewer than `CHUNK`
/// means that none are left.
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

impl FromRedisValue for Kept {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        type Reply = (bool, usize, usize, Vec<Text>, Vec<Text>);
        let (lapsed, put_back, held_anew, lapsed_others, living) = Reply::from_redis_value(value)?;
        // What is not named by a UUID is none of ours.
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
