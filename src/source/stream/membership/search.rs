//! Searches the group for consumers to take over from: dead members, and foreign consumers with idle entries.

use std::time::Duration;

use tokio::time::Instant;

use super::{MAINTENANCE, Membership};
use crate::entry_id::EntryId;
use crate::redis::fault::Fault;
use crate::redis::registry::{FencedOff, Names, PendingFilter, Standing, Why};
use crate::source::stream::takeovers::Takeover;

/// The most pages of pending entries, of 100 each, that one such search reads.
const PAGES: usize = 10;

impl Membership {
    /// Finds dead members of the group, and ends their epochs.
    pub(super) async fn sweep(&mut self) -> Result<(), Fault> {
        let ours = self.registry.processes().await?;
        self.unlisted.retain(|process, _| ours.contains(process));
        let began = Instant::now();
        for process in ours.into_iter().filter(|process| *process != self.epoch.process) {
            // With hundreds of members, the own renewal comes first; the rest is checked by a later sweep.
            if began.elapsed() > MAINTENANCE {
                break;
            }
            let why = match self.registry.standing(process).await? {
                Standing::FencedOff => {
                    self.takeovers.add(Takeover::by(process));
                    continue;
                }
                Standing::Lives => {
                    self.unlisted.remove(&process);
                    continue;
                }
                Standing::Lapsed => Why::Lapsed,
                Standing::Unlisted => {
                    let since = *self.unlisted.entry(process).or_insert_with(Instant::now);
                    if since.elapsed() < self.lease {
                        continue;
                    }
                    Why::Unlisted
                }
            };
            if !self.timing.may_judge(Instant::now()) {
                continue;
            }
            match self.registry.fence_off(self.epoch.process, process, why).await? {
                FencedOff::Done => {
                    tracing::info!(
                        event = "member_died",
                        stream = self.registry.names.input,
                        %process,
                        "process {process} has died; taking over its entries of {}",
                        self.registry.names.input
                    );
                    self.takeovers.add(Takeover::by(process));
                }
                FencedOff::Lives => {}
                FencedOff::CallerLapsed => {
                    self.timing.pause(Instant::now());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Searches for entries of foreign consumers that have been idle for this long.
    pub(super) async fn find_idle_foreign(&mut self, idle: Duration) -> Result<(), Fault> {
        const PAGE: usize = 100;
        for _ in 0..PAGES {
            let by_anyone = PendingFilter { consumer: None, idle };
            let pending = self.registry.pending(by_anyone, self.cursor, PAGE).await?;
            for entry in pending.iter().filter(|entry| Names::process(&entry.consumer).is_none()) {
                self.takeovers.add(Takeover::by_foreign(entry.consumer.clone(), idle, entry.id));
            }
            match pending.last() {
                Some(last) if pending.len() == PAGE => self.cursor = last.id,
                _ => {
                    self.cursor = EntryId::default();
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
