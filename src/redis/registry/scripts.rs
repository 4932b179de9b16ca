//! The steps that must be atomic, as commands and their replies. See `lua/`.

use std::time::Duration;

use redis::{Cmd, FromRedisValue, ParsingError, Value, cmd};
use uuid::Uuid;

use super::Names;
use crate::config::Begin;
use crate::entry_id::EntryId;
use crate::record::push_bulk;
use crate::tenure::{Attempt, Tenure};

const KEEP: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/keep.lua"));
const EXPEL: &str = concat!(include_str!("lua/prelude.lua"), include_str!("lua/expel.lua"));
const INHERIT: &str = include_str!("lua/inherit.lua");
const BURY: &str = include_str!("lua/bury.lua");
const COUNT: &str = include_str!("lua/count.lua");
const CREATE: &str = include_str!("lua/create.lua");
const SKIP: &str = include_str!("lua/skip.lua");
const MEND: &str = include_str!("lua/mend.lua");
const VERIFY: &str = concat!(include_str!("lua/ids.lua"), include_str!("lua/verify.lua"));
const TRIM: &str = concat!(include_str!("lua/ids.lua"), include_str!("lua/trim.lua"));

/// About how many entries are trimmed by one call.
const TRIMMED_AT_ONCE: u32 = 10_000;
/// With more pending entries than these nothing behind them is trimmed: each is looked at, ten thousand of them for about a
/// millisecond, and those that are pending stay.
const PENDING_AT_MOST: u32 = 5_000;

/// What a renewal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewal {
    Renewed,
    /// There was no valid lease, and nobody has noticed.
    Lapsed,
    /// The permit is gone: the tenure is over.
    Expelled,
}

/// What became of an attempt to end the tenure of another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expelled {
    Done,
    Lives,
    /// The caller's own lease has lapsed: it judges nobody.
    CallerLapsed,
}

/// Why a process may be taken for dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Lapsed,
    /// It has had no lease for as long as one lasts.
    Unlisted,
    /// It is a former tenure of the caller's own process.
    Own,
}

/// What was taken over.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inherited {
    /// Why it was refused as a whole.
    pub(crate) refusal: Option<Refusal>,
    /// Entries that were pending, and that somebody has deleted.
    pub(crate) deleted: u64,
    pub(crate) entries: Vec<InheritedEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The caller's own tenure is over.
    Expelled,
    /// The holder's is not.
    Lives,
}

/// One entry that was taken over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InheritedEntry {
    pub(crate) id: EntryId,
    /// Fields and values, each as an argument of a command.
    pub(crate) encoded: Vec<u8>,
    pub(crate) fields: u32,
    /// Which attempt this is.
    pub(crate) attempt: u32,
}

pub(super) fn keep(names: &Names, tenure: &Tenure, lease: Duration, join: bool) -> Cmd {
    let mut call = call(KEEP, &[&names.leases, &tenure.permit, &names.input]);
    call.arg(tenure.process.to_string()).arg(millis(lease)).arg(if join { "join" } else { "renew" });
    call.arg(&names.group).arg(&tenure.consumer);
    call
}

pub(super) fn expel(names: &Names, caller: Uuid, process: Uuid, why: Why) -> Cmd {
    let mut call = call(EXPEL, &[&names.leases, &names.permit(process)]);
    call.arg(caller.to_string()).arg(process.to_string()).arg(match why {
        Why::Lapsed => "lapsed",
        Why::Unlisted => "unlisted",
        Why::Own => "own",
    });
    call
}

pub(super) fn inherit(names: &Names, tenure: &Tenure, holder: &str, idle: Duration, ids: &[EntryId]) -> Cmd {
    // Nobody has the process of this permit, so it is never there.
    let permit = names.permit(Names::process(holder).unwrap_or(Uuid::nil()));
    let mut call = call(INHERIT, &[&names.input, &tenure.permit, &permit]);
    call.arg(&names.group).arg(&tenure.consumer).arg(holder).arg(millis(idle));
    for id in ids {
        call.arg(id.to_string());
    }
    call
}

pub(super) fn bury(names: &Names, process: Uuid) -> Cmd {
    let mut call = call(BURY, &[&names.input, &names.leases, &names.permit(process)]);
    call.arg(&names.group).arg(Names::consumer(process)).arg(process.to_string());
    call
}

pub(super) fn count(names: &Names, tenure: &Tenure, attempts: &[Attempt]) -> Cmd {
    let mut call = call(COUNT, &[&names.input, &tenure.permit]);
    call.arg(&names.group).arg(&tenure.consumer);
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

pub(super) fn mend(names: &Names, last: EntryId, position: u64) -> Cmd {
    let mut call = call(MEND, &[&names.input]);
    call.arg(&names.group).arg(last.to_string()).arg(position);
    call
}

pub(super) fn trim(names: &Names) -> Cmd {
    let mut call = call(TRIM, &[&names.input]);
    call.arg(TRIMMED_AT_ONCE).arg(PENDING_AT_MOST);
    call
}

/// Whole milliseconds, as Redis counts them.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// With EVAL each time: a few hundred bytes a second cost less than it would to ask for another permission and to handle
/// a server that has forgotten a script.
fn call(script: &str, keys: &[&str]) -> Cmd {
    let mut call = cmd("EVAL");
    call.arg(script).arg(keys.len()).arg(keys);
    call
}

impl FromRedisValue for Renewal {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match String::from_redis_value(value)?.as_str() {
            "kept" => Ok(Self::Renewed),
            "lapsed" => Ok(Self::Lapsed),
            "expelled" => Ok(Self::Expelled),
            other => Err(format!("unexpected verdict of a script: {other}").into()),
        }
    }
}

impl FromRedisValue for Expelled {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        match String::from_redis_value(value)?.as_str() {
            "done" => Ok(Self::Done),
            "lives" => Ok(Self::Lives),
            "caller lapsed" => Ok(Self::CallerLapsed),
            other => Err(format!("unexpected verdict of a script: {other}").into()),
        }
    }
}

impl FromRedisValue for Inherited {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let mut parts = Vec::<Value>::from_redis_value(value)?.into_iter();
        let mut part =
            || parts.next().ok_or_else(|| ParsingError::from("an answer with a part missing".to_owned()));
        let refusal = match String::from_redis_value(part()?)?.as_str() {
            "done" => None,
            "expelled" => Some(Refusal::Expelled),
            "lives" => Some(Refusal::Lives),
            other => return Err(format!("unexpected verdict of a script: {other}").into()),
        };
        let deleted = u64::from_redis_value(part()?)?;
        let entries = parts.map(InheritedEntry::from_redis_value).collect::<Result<_, _>>()?;
        Ok(Self { refusal, deleted, entries })
    }
}

impl FromRedisValue for InheritedEntry {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let (id, texts, attempt): (String, Vec<Vec<u8>>, u32) = FromRedisValue::from_redis_value(value)?;
        let id = id.parse().map_err(ParsingError::from)?;
        let mut encoded = Vec::with_capacity(texts.iter().map(|text| text.len() + 16).sum());
        texts.iter().for_each(|text| push_bulk(&mut encoded, text));
        Ok(Self { id, encoded, fields: u32::try_from(texts.len() / 2).unwrap_or(u32::MAX), attempt })
    }
}
