//! The members of the group: their epochs and leases, and which of them are dead.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use redis::FromRedisValue;
use uuid::Uuid;

use super::{FencedOff, Names, Registry, Renewal, Why, scripts};
use crate::epoch::Epoch;
use crate::redis::fault::Fault;

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

impl Registry {
    /// Begins the epoch, or renews its lease.
    pub(crate) async fn renew(
        &mut self,
        epoch: &Epoch,
        lease: Duration,
        join: bool,
    ) -> Result<Renewal, Fault> {
        self.call(&scripts::renew(&self.names, epoch, lease, join)).await
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

    /// Deletes a consumer whose epoch is over, once nothing is pending for it. Returns whether it is deleted.
    pub(crate) async fn forget(&mut self, process: Uuid) -> Result<bool, Fault> {
        let verdict: String = self.call(&scripts::forget(&self.names, process)).await?;
        Ok(verdict == "done")
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

    /// When the lease of a process expires, by the server's clock.
    pub(crate) async fn expiry(&mut self, process: Uuid) -> Result<Option<f64>, Fault> {
        let mut score = redis::cmd("ZSCORE");
        score.arg(&self.names.leases).arg(process.to_string());
        self.call(&score).await
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
}
