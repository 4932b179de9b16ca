//! Pending entries of the group: who holds them, claims, and their acknowledgement.

use std::time::Duration;

use super::{Registry, TakenOver, scripts};
use crate::entry_id::EntryId;
use crate::epoch::{Attempt, Epoch};
use crate::redis::fault::Fault;

/// An entry that nobody has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) id: EntryId,
    pub(crate) consumer: String,
    /// How often it was delivered.
    pub(crate) deliveries: u32,
}

/// Which pending entries to list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PendingFilter<'a> {
    /// Those of this consumer; `None`: of all.
    pub(crate) consumer: Option<&'a str>,
    /// Those that have been idle for at least so long.
    pub(crate) idle: Duration,
}

impl Registry {
    /// Pending entries, from the id `from` on.
    pub(crate) async fn pending(
        &mut self,
        of: PendingFilter<'_>,
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

    /// Whether this entry is still pending for this consumer.
    pub(crate) async fn is_pending(&mut self, id: EntryId, consumer: &str) -> Result<bool, Fault> {
        let pending =
            self.pending(PendingFilter { consumer: Some(consumer), idle: Duration::ZERO }, id, 1).await?;
        Ok(pending.first().is_some_and(|pending| pending.id == id))
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

    /// Removes entries that all groups have acknowledged. Returns how many.
    pub(crate) async fn trim(&mut self) -> Result<u64, Fault> {
        self.call(&scripts::trim(&self.names)).await
    }
}
