//! The atomic steps, as commands and their replies. See `lua/`.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, ParsingError, Value, cmd};
use uuid::Uuid;

use super::Names;
use crate::config::Begin;
use crate::entry_id::{EntryId, EntryIdError};
use crate::epoch::{Attempt, Epoch};
use crate::record::push_bulk;

const RENEW: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/renew.lua"));
const FENCE_OFF: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/fence_off.lua"));
const TAKE_OVER: &str = include_str!("lua/take_over.lua");
const FORGET: &str = include_str!("lua/forget.lua");
const COUNT: &str = include_str!("lua/count.lua");
const CREATE: &str = include_str!("lua/create.lua");
const END_REPLAY: &str = include_str!("lua/end_replay.lua");
const SKIP: &str = include_str!("lua/skip.lua");
const REPAIR: &str = include_str!("lua/repair.lua");
const VERIFY: &str = concat!(include_str!("lua/ids.lua"), include_str!("lua/verify.lua"));
const TRIM: &str = concat!(include_str!("lua/ids.lua"), include_str!("lua/trim.lua"));

/// About how many entries one call trims.
const TRIMMED_AT_ONCE: u32 = 10_000;
/// With more pending entries than this, no entries behind them are trimmed: the server would look at every entry left,
/// which takes about 1 ms for ten thousand, and the pending ones stay.
const PENDING_AT_MOST: u32 = 5_000;

/// The result of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    Renewed,
    /// There was no valid lease, but no other process has ended the epoch.
    Lapsed,
    /// The token is gone: the epoch is over.
    FencedOff,
}

/// The result of an attempt to end the epoch of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FencedOff {
    Done,
    Lives,
    /// The caller's own lease has lapsed, so it may not judge others.
    CallerLapsed,
}

/// Why a process counts as dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Lapsed,
    /// It has had no lease for the length of one.
    Unlisted,
    /// It is a former epoch of the caller's own process.
    Own,
}

/// The result of a takeover.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TakenOver {
    /// Why the whole takeover was refused.
    pub(crate) refusal: Option<Refusal>,
    /// How many entries were pending although they had been deleted.
    pub(crate) deleted: u64,
    pub(crate) entries: Vec<TakenOverEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The caller's own epoch is over.
    FencedOff,
    /// The holder's epoch is not over.
    Lives,
}

/// One entry that was taken over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TakenOverEntry {
    pub(crate) id: EntryId,
    /// Fields and values, each encoded as an argument of a command.
    pub(crate) encoded: Vec<u8>,
    pub(crate) fields: u32,
    /// The number of this attempt.
    pub(crate) attempt: u32,
}

pub(super) fn renew(names: &Names, epoch: &Epoch, lease: Duration, join: bool) -> Cmd {
    let mut call = call(RENEW, &[&names.leases, &epoch.token, &names.input]);
    call.arg(epoch.process.to_string()).arg(millis(lease)).arg(if join { "join" } else { "renew" });
    call.arg(&names.group).arg(&epoch.consumer);
    call
}

pub(super) fn fence_off(names: &Names, caller: Uuid, process: Uuid, why: Why) -> Cmd {
    let mut call = call(FENCE_OFF, &[&names.leases, &names.token(process)]);
    call.arg(caller.to_string()).arg(process.to_string()).arg(match why {
        Why::Lapsed => "lapsed",
        Why::Unlisted => "unlisted",
        Why::Own => "own",
    });
    call
}

pub(super) fn take_over(names: &Names, epoch: &Epoch, holder: &str, idle: Duration, ids: &[EntryId]) -> Cmd {
    // No process has the nil UUID, so this token never exists.
    let token = names.token(Names::process(holder).unwrap_or(Uuid::nil()));
    let mut call = call(TAKE_OVER, &[&names.input, &epoch.token, &token]);
    call.arg(&names.group).arg(&epoch.consumer).arg(holder).arg(millis(idle));
    for id in ids {
        call.arg(id.to_string());
    }
    call
}

pub(super) fn forget(names: &Names, process: Uuid) -> Cmd {
    let mut call = call(FORGET, &[&names.input, &names.leases, &names.token(process)]);
    call.arg(&names.group).arg(Names::consumer(process)).arg(process.to_string());
    call
}

pub(super) fn end_replay(names: &Names, process: Uuid) -> Cmd {
    let mut call = call(END_REPLAY, &[&names.input, &names.leases]);
    call.arg(&names.group).arg(Names::consumer(process)).arg(process.to_string());
    call
}

pub(super) fn count(names: &Names, epoch: &Epoch, attempts: &[Attempt]) -> Cmd {
    let mut call = call(COUNT, &[&names.input, &epoch.token]);
    call.arg(&names.group).arg(&epoch.consumer);
    for Attempt { id, number } in attempts {
        call.arg(id.to_string()).arg(number);
    }
    call
}

pub(super) fn create(names: &Names, begin: Begin) -> Cmd {
    let mut call = call(CREATE, &[&names.input]);
    call.arg(&names.group).arg(match begin {
        Begin::Beginning => "beginning".to_owned(),
        Begin::New => "new".to_owned(),
        Begin::After(id) => id.to_string(),
    });
    call
}

pub(super) fn skip(names: &Names) -> Cmd {
    let mut call = call(SKIP, &[&names.input]);
    call.arg(&names.group);
    call
}

pub(super) fn verify(names: &Names) -> Cmd {
    let mut call = call(VERIFY, &[&names.input]);
    call.arg(&names.group);
    call
}

pub(super) fn repair(names: &Names, last: EntryId, position: u64) -> Cmd {
    let mut call = call(REPAIR, &[&names.input]);
    call.arg(&names.group).arg(last.to_string()).arg(position);
    call
}

pub(super) fn trim(names: &Names) -> Cmd {
    let mut call = call(TRIM, &[&names.input]);
    call.arg(TRIMMED_AT_ONCE).arg(PENDING_AT_MOST);
    call
}

/// Whole milliseconds, the unit of Redis.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Sends the whole script with EVAL each time: a few hundred bytes a second cost less than another permission, and
/// than handling a server that has forgotten a script.
fn call(script: &str, keys: &[&str]) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(script).arg(keys.len()).arg(keys);
    call
}

impl FromRedisValue for Renewal {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match String::from_redis_value(value)?.as_str() {
            "renewed" => Ok(Self::Renewed),
            "lapsed" => Ok(Self::Lapsed),
            "fenced_off" => Ok(Self::FencedOff),
            other => Err(format!("unexpected verdict of a script: {other}").into()),
        }
    }
}

impl FromRedisValue for FencedOff {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match String::from_redis_value(value)?.as_str() {
            "done" => Ok(Self::Done),
            "lives" => Ok(Self::Lives),
            "caller lapsed" => Ok(Self::CallerLapsed),
            other => Err(format!("unexpected verdict of a script: {other}").into()),
        }
    }
}

impl FromRedisValue for TakenOver {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part =
            || parts.next().ok_or_else(|| ParsingError::from("an answer with a part missing".to_owned()));
        let refusal = match String::from_redis_value(part()?)?.as_str() {
            "done" => None,
            "fenced_off" => Some(Refusal::FencedOff),
            "lives" => Some(Refusal::Lives),
            other => return Err(format!("unexpected verdict of a script: {other}").into()),
        };
        let deleted = u64::from_redis_value(part()?)?;
        let entries = parts.map(TakenOverEntry::from_redis_value).collect::<Result<_, _>>()?;
        Ok(Self { refusal, deleted, entries })
    }
}

impl FromRedisValue for TakenOverEntry {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (id, texts, attempt): (String, Vec<Vec<u8>>, u32) = FromRedisValue::from_redis_value(value)?;
        let id = id.parse().map_err(|error: EntryIdError| ParsingError::from(error.to_string()))?;
        let mut encoded = Vec::with_capacity(texts.iter().map(|text| text.len() + 16).sum());
        texts.iter().for_each(|text| push_bulk(&mut encoded, text));
        Ok(Self { id, encoded, fields: u32::try_from(texts.len() / 2).unwrap_or(u32::MAX), attempt })
    }
}
