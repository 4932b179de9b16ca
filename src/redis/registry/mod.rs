//! The members of a stream's group: their fencing tokens, leases and pending entries, and which of them are dead.
//!
//! ```text
//!   join ──► renew ─────────────► leave
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
//!
//! `members` has the steps above, `pending` the entries that members hold, `counts` what is left to read, and `read`
//! the reading connection.

mod counts;
mod entries;
mod figures;
mod members;
mod names;
mod pending;
mod read;
mod scripts;

use std::time::Duration;

use redis::{Cmd, FromRedisValue};
use tokio::time::timeout;
use uuid::Uuid;

pub(crate) use self::entries::Entries;
pub(crate) use self::figures::Figures;
pub(crate) use self::members::Standing;
pub(crate) use self::names::Names;
pub(crate) use self::pending::PendingFilter;
pub(crate) use self::read::{Former, Reader, Unread};
pub(crate) use self::scripts::{FencedOff, Refusal, Renewal, TakenOver, Why};
use crate::config::Begin;
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

    /// Closes the connection. The next call opens a new one.
    pub(crate) fn disconnect(&mut self) {
        self.connection = None;
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
