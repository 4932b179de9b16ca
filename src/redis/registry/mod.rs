//! The members of a stream's group: their fencing tokens, leases and pending entries, and which of them are dead.
//!
//! ```text
//!   join ──► keep ──────────────► leave
//!              │ who else is there?   a lease lapsed, or a token is gone?
//!              ▼
//!            fence_off (delete its token) ──► take_over (its entries) ──► forget (its name in the group)
//!
//!   {messages:published}:leases:<group>     {messages:published}:token:<process>
//! ```
//!
//! The keys are beside the stream, not beside the ids. So all readers of the group see the same leases, whatever their
//! other options are, and each step is one script in one slot. A token is created before its process reads anything,
//! and deleted before anything is taken over: see [`crate::epoch::Epoch`].

mod entries;
mod figures;
mod names;
mod read;
mod scripts;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use redis::{Cmd, FromRedisValue};
use tokio::time::timeout;
use uuid::Uuid;

pub(crate) use self::entries::Entries;
pub(crate) use self::figures::Figures;
pub(crate) use self::names::Names;
pub(crate) use self::read::{Former, Reader, Unread};
pub(crate) use self::scripts::{FencedOff, Refusal, Renewal, TakenOver, Why};
use crate::config::Begin;
use crate::entry_id::EntryId;
use crate::epoch::{Attempt, Epoch};
use crate::error::Error;
use crate::redis::backoff::Backoff;
use crate::redis::control::{Control, connected};
use crate::redis::fault::{Fault, Kind};
use crate::redis::link::Link;
use crate::slot::beside;
use crate::text::Lasted;

/// The registry as one process uses it: one connection, one call at a time.
pub(crate) struct Registry {
    control: Control,
    connection: Option<Link>,
    pub(crate) names: Names,
    /// The time limit of each call.
    response_timeout: Duration,
}

/// An entry that nobody has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) id: EntryId,
    pub(crate) consumer: String,
    /// How often it was delivered.
    pub(crate) deliveries: u32,
}

impl Registry {
    pub(crate) fn new(control: Control, names: Names, response_timeout: Duration) -> Self {
        Self { control, connection: None, names, response_timeout }
    }

    /// The backoff between attempts.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::at(&self.control.0)
    }

    /// Another registry of the same group, with its own connection.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.control.clone(), self.names.clone(), self.response_timeout)
    }

    /// Creates the group if it is missing, and the stream. Returns whether the group was missing.
    pub(crate) async fn create_group(&mut self, begin: Begin) -> Result<bool, Fault> {
        match self.call::<()>(&scripts::create(&self.names, begin)).await {
            Ok(()) => Ok(true),
            Err(Fault::Transient(answer)) if answer.contains("BUSYGROUP") => Ok(false),
            Err(fault) => Err(fault),
        }
    }

    /// Destroys the group and creates it again, with a new beginning and nothing pending.
    pub(crate) async fn recreate_group(&mut self, begin: Begin) -> Result<(), Fault> {
        let mut destroy = redis::cmd("XGROUP");
        destroy.arg("DESTROY").arg(&self.names.input).arg(&self.names.group);
        self.call::<()>(&destroy).await?;
        self.create_group(begin).await.map(drop)
    }

    /// Leaves the group of a replay. Destroys the group unless another process is in it.
    pub(crate) async fn end_replay(&mut self, process: Uuid) -> Result<(), Fault> {
        self.call(&scripts::end_replay(&self.names, process)).await
    }

    /// The id of the last entry that was ever added to the stream.
    pub(crate) async fn last_entry(&mut self) -> Result<EntryId, Fault> {
        let mut ask = redis::cmd("XINFO");
        ask.arg("STREAM").arg(&self.names.input);
        let mut info: HashMap<String, redis::Value> = self.call(&ask).await?;
        let id = info.remove("last-generated-id").and_then(|id| String::from_redis_value(id).ok());
        id.and_then(|id| id.parse().ok())
            .ok_or_else(|| Fault::Transient("the server does not tell the last entry's id".to_owned()))
    }

    /// When the lease of a process expires, by the server's clock.
    pub(crate) async fn expiry(&mut self, process: Uuid) -> Result<Option<f64>, Fault> {
        let mut score = redis::cmd("ZSCORE");
        score.arg(&self.names.leases).arg(process.to_string());
        self.call(&score).await
    }

    /// Begins the epoch, or renews its lease.
    pub(crate) async fn keep(
        &mut self,
        epoch: &Epoch,
        lease: Duration,
        join: bool,
    ) -> Result<Renewal, Fault> {
        self.call(&scripts::keep(&self.names, epoch, lease, join)).await
    }

    /// Ends the epoch of another process, if that counts as dead.
    pub(crate) async fn fence_off(
        &mut self,
        caller: Uuid,
        process: Uuid,
        why: Why,
    ) -> Result<FencedOff, Fault> {
        self.call(&scripts::fence_off(&self.names, caller, process, why)).await
    }

    /// Takes over those of the entries that are still pending for `holder` and have been idle for so long. Can be
    /// repeated if the answer was lost.
    pub(crate) async fn take_over(
        &mut self,
        epoch: &Epoch,
        holder: &str,
        idle: Duration,
        ids: &[EntryId],
    ) -> Result<TakenOver, Fault> {
        self.call(&scripts::take_over(&self.names, epoch, holder, idle, ids)).await
    }

    /// Deletes a consumer whose epoch is over, once nothing is pending for it. Returns whether it is deleted.
    pub(crate) async fn forget(&mut self, process: Uuid) -> Result<bool, Fault> {
        let verdict: String = self.call(&scripts::forget(&self.names, process)).await?;
        Ok(verdict == "done")
    }

    /// Acknowledges entries that no longer exist. Returns how many were pending.
    pub(crate) async fn acknowledge(&mut self, ids: &[EntryId]) -> Result<u64, Fault> {
        let mut acknowledge = redis::cmd("XACK");
        acknowledge.arg(&self.names.input).arg(&self.names.group);
        for id in ids {
            acknowledge.arg(id.to_string());
        }
        self.call(&acknowledge).await
    }

    /// Stores the numbers of the attempts that begin.
    pub(crate) async fn count(&mut self, epoch: &Epoch, attempts: &[Attempt]) -> Result<(), Fault> {
        self.call(&scripts::count(&self.names, epoch, attempts)).await
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

    /// Closes the connection. The next call opens a new one.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Removes entries that all groups have acknowledged. Returns how many.
    pub(crate) async fn trim(&mut self) -> Result<u64, Fault> {
        self.call(&scripts::trim(&self.names)).await
    }

    /// Our processes that have a consumer in the group, or a lease. One that has read nothing yet may have only a
    /// lease.
    pub(crate) async fn processes(&mut self) -> Result<HashSet<Uuid>, Fault> {
        let mut list = redis::cmd("ZRANGE");
        list.arg(&self.names.leases).arg(0).arg(-1);
        let leases: Vec<String> = self.call(&list).await?;
        let consumers = self.consumers().await?;
        let of_consumers = consumers.iter().filter_map(|name| Names::process(name));
        Ok(leases.iter().filter_map(|process| process.parse().ok()).chain(of_consumers).collect())
    }

    async fn consumers(&mut self) -> Result<Vec<String>, Fault> {
        let mut ask = redis::cmd("XINFO");
        ask.arg("CONSUMERS").arg(&self.names.input).arg(&self.names.group);
        let consumers: Vec<HashMap<String, redis::Value>> = self.call(&ask).await?;
        let name = |mut consumer: HashMap<_, _>| {
            Vec::<u8>::from_redis_value(consumer.remove("name")?)
                .ok()
                .and_then(|name| String::from_utf8(name).ok())
        };
        // A name that is not UTF-8 is not one of ours.
        Ok(consumers.into_iter().filter_map(name).collect())
    }

    /// What the keys show about a process.
    pub(crate) async fn standing(&mut self, process: Uuid) -> Result<Standing, Fault> {
        let expiry = self.expiry(process).await?;
        let mut exists = redis::cmd("EXISTS");
        exists.arg(self.names.token(process));
        let token: bool = self.call(&exists).await?;
        let (seconds, micros): (u64, u64) = self.call(&redis::cmd("TIME")).await?;
        let now = (seconds * 1000 + micros / 1000) as f64;
        Ok(match (token, expiry) {
            (false, _) => Standing::FencedOff,
            (true, None) => Standing::Unlisted,
            (true, Some(expiry)) if expiry < now => Standing::Lapsed,
            (true, Some(_)) => Standing::Lives,
        })
    }

    /// Pending entries, from the id `from` on.
    pub(crate) async fn pending(
        &mut self,
        of: Held<'_>,
        from: EntryId,
        count: usize,
    ) -> Result<Vec<Pending>, Fault> {
        let mut ask = redis::cmd("XPENDING");
        ask.arg(&self.names.input).arg(&self.names.group);
        if !of.idle.is_zero() {
            ask.arg("IDLE").arg(scripts::millis(of.idle));
        }
        ask.arg(from.to_string()).arg("+").arg(count);
        if let Some(consumer) = of.consumer {
            ask.arg(consumer);
        }
        let rows: Vec<(String, Vec<u8>, u64, u64)> = self.call(&ask).await?;
        let row = |(id, consumer, _, deliveries): (String, Vec<u8>, u64, u64)| {
            let consumer = String::from_utf8(consumer).ok()?;
            let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
            Some(Pending { id: id.parse().ok()?, consumer, deliveries })
        };
        Ok(rows.into_iter().filter_map(row).collect())
    }

    /// Whether Redis went back to a state before a confirmed commit of this epoch.
    pub(crate) async fn has_gone_back(&mut self, epoch: &Epoch) -> Result<bool, Fault> {
        for (lane, confirmed) in epoch.confirmed() {
            let mut ask = redis::cmd("HGET");
            ask.arg(&lane).arg("number");
            let number: Option<u64> = self.call(&ask).await?;
            if number.is_none_or(|number| number < confirmed) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether this entry is still pending for this consumer.
    pub(crate) async fn is_pending(&mut self, id: EntryId, consumer: &str) -> Result<bool, Fault> {
        let pending = self.pending(Held { consumer: Some(consumer), idle: Duration::ZERO }, id, 1).await?;
        Ok(pending.first().is_some_and(|pending| pending.id == id))
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

    /// How many entries the stream has.
    pub(crate) async fn length(&mut self) -> Result<u64, Fault> {
        let mut ask = redis::cmd("XLEN");
        ask.arg(&self.names.input);
        self.call(&ask).await
    }

    /// Runs a command, on a new connection if the last one failed.
    async fn call<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, Fault> {
        let answer = timeout(self.response_timeout, async {
            let link = match &mut self.connection {
                Some(link) if !link.is_closed() => link,
                none => none.insert(connected(&self.control).await?),
            };
            command.query_async(&mut **link).await.map_err(|error| {
                let what = format!("to read {} through the group {}", self.names.input, self.names.group);
                self.control.fault(&what, &self.needs(), &error)
            })
        })
        .await;
        let fault = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Fault::Transient(answer))) if Kind::of(&answer) == Kind::WrongType => {
                self.wrong_type(&answer).await
            }
            Ok(Err(fault)) => fault,
            Err(_) => Fault::Transient(format!("no answer for {}", Lasted(self.response_timeout))),
        };
        self.connection = None;
        Err(fault)
    }

    /// Finds the key of another type, because a script's error does not name it.
    async fn wrong_type(&mut self, answer: &str) -> Fault {
        let Some(connection) = &mut self.connection else { return Fault::Transient(answer.to_owned()) };
        let Names { input, leases, option, .. } = &self.names;
        for (key, needed, option) in
            [(input, "stream", *option), (leases, "zset", self.names.option_of_leases())]
        {
            let mut ask = redis::cmd("TYPE");
            let asked = ask.arg(key).query_async::<String>(&mut **connection);
            let found = timeout(self.response_timeout, asked).await.ok().and_then(Result::ok);
            if let Some(found) = found.filter(|found| found != "none" && found != needed) {
                return Fault::Permanent(Error::WrongType { key: key.clone(), found, needed, option });
            }
        }
        Fault::Transient(answer.to_owned())
    }

    /// The ACL rule that permits all commands.
    fn needs(&self) -> String {
        let input = &self.names.input;
        format!(
            "+eval +time +xgroup +xinfo +xpending +xreadgroup +xrange +xclaim +xack +xlen +xtrim +zscore +zrange +zadd +zrem +set \
             +exists +unlink ~{input} ~{}",
            beside(input, "*")
        )
    }
}

/// What the keys show about a process whose consumer is in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It may commit, and its lease is valid.
    Lives,
    /// Its lease is over.
    Lapsed,
    /// It has a token but no lease. Somebody deleted the leases, and it will renew if it lives.
    Unlisted,
    /// It has no token, so it cannot commit what it holds any more.
    FencedOff,
}

/// Which pending entries to list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held<'a> {
    /// Those of this consumer; `None`: of all.
    pub(crate) consumer: Option<&'a str>,
    /// Those that have been idle for at least so long.
    pub(crate) idle: Duration,
}
