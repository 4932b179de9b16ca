//! Begins an epoch: the first one, one after another that is over, and that of a replay.

use std::collections::HashMap;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use super::{Membership, epoch};
use crate::error::Error;
use crate::redis::fault::Fault;
use crate::redis::outage::{Outage, Task};
use crate::redis::registry::{Standing, Why};
use crate::redis::timing::Timing;
use crate::source::stream::takeovers::Takeover;

impl Membership {
    /// Begins an epoch. If its beginning was not confirmed, the epoch is never used: the request may arrive late,
    /// after the epoch is over, and recreate its token.
    pub(super) async fn begin(&mut self) -> Result<(), Fault> {
        let former = self.epoch.process;
        let (epoch, attempts) = epoch(&self.registry.names);
        (self.epoch, self.attempts, self.timing) = (epoch, attempts, Timing::new(self.lease));
        self.unstored.clear();
        self.renew_lease(true).await?;
        match self.names().is_of_replay() {
            true => self.begin_replay(former).await,
            false => Ok(()),
        }
    }

    /// Begins a replay: waits until this is the only process, and no other can commit an entry that it reads.
    /// Then it starts at the first entry.
    async fn begin_replay(&mut self, former: Uuid) -> Result<(), Fault> {
        self.registry.fence_off(self.epoch.process, former, Why::Own).await?;
        // A process that took over may have deleted the group when it ended.
        self.registry.create_group(self.begin).await?;
        let mut expiries = HashMap::new();
        let mut renewal = Instant::now() + self.timing.interval();
        let mut is_logged = false;
        loop {
            self.sweep().await?;
            let mut waits = false;
            for process in self.registry.processes().await? {
                if process == self.epoch.process
                    || self.registry.standing(process).await? == Standing::FencedOff
                {
                    continue;
                }
                let expiry = self.registry.expiry(process).await?;
                if expiries.insert(process, expiry).is_some_and(|earlier| earlier < expiry) {
                    return Err(Fault::Permanent(Error::Replaying { key: self.names().input.clone() }));
                }
                waits = true;
            }
            if !waits {
                return self.registry.recreate_group(self.begin).await;
            }
            if !is_logged {
                is_logged = true;
                tracing::info!(
                    "an earlier replay of {} was interrupted or still runs; waiting up to {:.1?} for its lease",
                    self.names().input,
                    self.lease
                );
            }
            sleep_until(Instant::now() + self.timing.retry()).await;
            if Instant::now() >= renewal {
                renewal = Instant::now() + self.timing.interval();
                self.renew_lease(false).await?;
            }
        }
    }

    /// Begins another epoch after one that is over, and takes over from the former one as from any dead member.
    pub(super) async fn begin_next(&mut self) -> Result<(), Fault> {
        let former = self.epoch.process;
        let mut backoff = self.registry.backoff();
        let outage = Outage::new(Task::JoinGroup(self.registry.names.input.clone()), &self.status);
        loop {
            let begun = match self.begin().await {
                // Deletes the former token before anything is taken over; the token still exists
                // if we ended the epoch ourselves.
                Ok(()) => self.registry.fence_off(self.epoch.process, former, Why::Own).await.map(drop),
                Err(fault) => Err(fault),
            };
            match begun {
                Ok(()) => {
                    outage.succeeded();
                    break;
                }
                Err(Fault::Permanent(error)) => return Err(Fault::Permanent(error)),
                Err(Fault::Transient(cause)) => outage.failed(&cause),
            }
            backoff.wait().await;
        }
        self.takeovers.begin(self.epoch.clone());
        self.takeovers.add(Takeover::by(former));
        Ok(())
    }
}
