//! Recovers when the reading connection breaks, an answer is lost, the group is gone, or Redis went back to an earlier
//! state.

use std::time::Duration;

use tokio::time::sleep;

use super::reading::{MOST_ENTRIES, Progress, Reading, Step};
use crate::entry_id::EntryId;
use crate::epoch::WENT_BACK;
use crate::error::Error;
use crate::message::Origin;
use crate::redis::backoff::Backoff;
use crate::redis::fault::Fault;
use crate::redis::registry::{Former, Unread};

impl Reading {
    /// Prepares for a read: an epoch, a connection, and entries whose answer was lost.
    /// `None` when everything is ready.
    pub(super) async fn prepare(&mut self) -> Result<Option<Step>, Error> {
        if self.progress.epoch.is_over() {
            tokio::select! {
                epoch = self.source.takeovers.epoch_after(&self.progress.epoch) => self.progress = Progress::new(epoch),
                () = self.stop.cancelled() => return Ok(Some(Step::Over)),
            }
        }
        if !self.source.reader.is_connected() {
            self.progress.uncertain = true;
            if let Step::Over = self.connect().await? {
                return Ok(Some(Step::Over));
            }
        }
        if let Some(node) = self.source.reader.node() {
            self.progress.epoch.must_be_at(&node.to_string());
        }
        if self.progress.epoch.is_over() {
            return Ok(Some(Step::Done));
        }
        self.verify_count().await?;
        if !self.progress.uncertain {
            return Ok(None);
        }
        // Acknowledged entries may be pending again, under this process's own name,
        // which others do not take over from.
        match self.source.registry.has_gone_back(&self.progress.epoch).await {
            Ok(false) => self.recover().await.map(Some),
            Ok(true) => {
                self.progress.epoch.end(WENT_BACK);
                Ok(Some(Step::Done))
            }
            Err(Fault::Permanent(error)) => Err(error),
            Err(Fault::Transient(cause)) => {
                self.wait_to_retry(&cause).await;
                Ok(Some(Step::Done))
            }
        }
    }

    async fn connect(&mut self) -> Result<Step, Error> {
        loop {
            match self.source.reader.connect().await {
                Ok(Former::Gone) => {
                    // The registry's connection is usually broken by the same cause.
                    self.source.registry.disconnect();
                    self.source.trimmed.distrust();
                    return Ok(Step::Done);
                }
                Ok(Former::MayBeHeard) => {
                    // Entries that this name gets from now on are left to a takeover.
                    self.progress.epoch.end("a read was given up, and Redis may still execute it");
                    return Ok(Step::Done);
                }
                Err(Fault::Permanent(error)) => return Err(error),
                Err(Fault::Transient(cause)) => self.wait_to_retry(&cause).await,
            }
            if self.stop.is_cancelled() {
                return Ok(Step::Over);
            }
        }
    }

    /// Waits before the next attempt. Nothing is lost meanwhile: unread entries stay in the stream.
    async fn wait_to_retry(&mut self, cause: &str) {
        let Some(backoff) = &mut self.backoff else {
            // The first retry is immediate: servers close idle connections, and that is not an outage.
            tracing::debug!("lost the connection that reads {}: {cause}; reconnecting", self.source.stream);
            self.backoff = Some(Backoff::at(self.source.reader.server()));
            return;
        };
        self.source.outage.failed(cause);
        let _ = self.stop.run_until_cancelled(backoff.wait()).await;
    }

    /// Asks again for entries that Redis handed to us and whose answer was lost.
    async fn recover(&mut self) -> Result<Step, Error> {
        let answer = self.source.reader.history(&self.progress.epoch, self.progress.last, MOST_ENTRIES).await;
        let Some(mut entries) = self.answered(answer).await? else { return Ok(Step::Done) };
        // The next read may be far away, while all consumers are busy.
        self.backoff = None;
        self.source.outage.succeeded();
        let asked_again = entries.list.len() + entries.deleted.len();
        self.progress.uncertain = asked_again > 0;
        if let Some(last) =
            entries.list.iter().map(|entry| entry.id).chain(entries.deleted.iter().copied()).max()
        {
            self.progress.last = last;
        }
        let ahead = std::mem::take(&mut self.progress.ahead);
        let known: Vec<_> = entries.list.iter().map(|entry| ahead.contains(&entry.id)).collect();
        remove_known(&mut entries.spans, &known);
        remove_known(&mut entries.list, &known);
        self.progress.ahead = ahead.into_iter().filter(|id| *id > self.progress.last).collect();
        self.forget(&entries.deleted).await?;
        self.deliver(entries).await;
        Ok(Step::Done)
    }

    /// Acknowledges entries that are pending for us and were deleted.
    async fn forget(&mut self, deleted: &[EntryId]) -> Result<(), Error> {
        if deleted.is_empty() {
            return Ok(());
        }
        match self.source.registry.acknowledge(deleted).await {
            Ok(count) => self.intake.deleted(count),
            Err(Fault::Permanent(error)) => return Err(error),
            Err(Fault::Transient(cause)) => {
                tracing::debug!(
                    "cannot acknowledge {} deleted entries: {cause}; they stay pending",
                    deleted.len()
                )
            }
        }
        Ok(())
    }

    /// Returns a usable answer. Otherwise handles the fault, and returns `None`.
    pub(super) async fn answered<T>(&mut self, answer: Result<T, Unread>) -> Result<Option<T>, Error> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(Unread::Permanent(error)) => Err(error),
            Err(Unread::Broken(cause)) => {
                self.wait_to_retry(&cause).await;
                Ok(None)
            }
            Err(Unread::NoGroup(answer)) if self.source.replaying.is_some() => {
                // A new group would deliver the entries that we hold once more.
                self.progress.epoch.end(&format!("the group of the replay was gone ({answer})"));
                Ok(None)
            }
            Err(Unread::NoGroup(answer)) => {
                match self.source.registry.create_group(self.source.begin).await {
                    Ok(true) => {
                        self.intake.group_lost(
                            &answer,
                            &self.source.registry.names.group,
                            &self.source.stream,
                        );
                        if matches!(self.source.origin, Origin::Spill) {
                            // The entries that were appended since the deletion are still there.
                            let left = self.source.registry.length().await.unwrap_or(0);
                            self.intake.spill_lost(left, &self.source.stream);
                        }
                    }
                    Ok(false) => {}
                    Err(Fault::Permanent(error)) => return Err(error),
                    Err(Fault::Transient(cause)) => {
                        self.source.outage.failed(&cause);
                        let _ = self.stop.run_until_cancelled(sleep(Duration::from_millis(100))).await;
                    }
                }
                self.source.trimmed.forget();
                self.progress.last = EntryId::default();
                self.progress.ahead.clear();
                Ok(None)
            }
        }
    }
}

fn remove_known<T>(list: &mut Vec<T>, known: &[bool]) {
    let mut known = known.iter();
    list.retain(|_| !known.next().copied().unwrap_or(false));
}
