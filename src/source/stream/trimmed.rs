//! What was trimmed from the stream before anyone of the group had read it.

use std::time::Duration;

use tokio::time::Instant;

use super::Reading;
use crate::error::Error;
use crate::message::Origin;
use crate::redis::fault::Fault;
use crate::redis::registry::{Entries, Figures};

/// How often a server is asked again that could not tell how many entries the group has read.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The figures that tell how much it was.
pub(super) struct Trimmed {
    /// As they were with the last read.
    figures: Option<Figures>,
    /// Whether the server's count of what the group has read can be relied on.
    reliable: bool,
    /// When that was asked last.
    asked: Option<Instant>,
    /// Since when the server has counted, once it was asked.
    counting_since: Option<Option<u64>>,
    /// Whether we trim the stream ourselves, and only what is acknowledged.
    trims: bool,
}

impl Trimmed {
    pub(super) fn new(trims: bool) -> Self {
        Self { figures: None, reliable: false, asked: None, counting_since: None, trims }
    }

    /// The stream or the group is another one now.
    pub(super) fn forget(&mut self) {
        self.figures = None;
        self.distrust();
    }

    /// The server may be another one now, or have been started again.
    pub(super) fn distrust(&mut self) {
        (self.reliable, self.asked, self.counting_since) = (false, None, None);
    }

    fn is_due(&self) -> bool {
        !self.reliable && self.asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN)
    }
}

impl Reading {
    /// Makes sure of the server's count before something is read that may lie behind what was trimmed.
    pub(super) async fn look_at_the_count(&mut self) -> Result<(), Error> {
        // A spill is trimmed by nobody but us. Rejected messages may be removed by whoever looks after them.
        if !matches!(self.origin, Origin::Input(_)) || !self.trimmed.is_due() {
            return Ok(());
        }
        self.trimmed.asked = Some(Instant::now());
        match self.registry.verify().await {
            Ok(reliable) => self.trimmed.reliable = reliable,
            Err(Fault::Permanent(error)) => return Err(error),
            Err(Fault::Transient(cause)) => {
                tracing::debug!("cannot read how many entries the group has read: {cause}")
            }
        }
        Ok(())
    }

    /// Counts what was trimmed before anyone had read it. What is read next lies behind that.
    pub(super) async fn look_for_trimmed(&mut self, figures: Figures, read: &Entries) -> Result<(), Error> {
        let earlier = self.trimmed.figures.replace(figures);
        if !matches!(self.origin, Origin::Input(_)) {
            return Ok(());
        }
        let reliable = self.trimmed.reliable || self.counted_all_along(&figures).await?;
        let figures = if reliable { figures } else { Figures { read: None, ..figures } };
        if !self.trimmed.trims
            && earlier.is_some_and(|earlier| figures.may_have_trimmed_unread_since(&earlier))
        {
            self.intake.trimmed(None, &self.stream);
        }
        let mut trimmed = figures.trimmed_unread();
        match read.list.last() {
            _ if trimmed == 0 => {}
            // Whoever of us comes first moves the group behind it, so that it is counted once.
            None => match self.registry.skip().await {
                Ok(skipped) => trimmed = skipped,
                Err(Fault::Permanent(error)) => return Err(error),
                // It may have been done, and then nobody counts it again.
                Err(Fault::Transient(_)) => {
                    trimmed = 0;
                    self.intake.trimmed(None, &self.stream);
                }
            },
            Some(last) => {
                let position = figures.removed() + read.list.len() as u64;
                // Refused, it costs no more than that.
                if let Err(fault) = self.registry.repair(last.id, position).await {
                    tracing::debug!(
                        "cannot set how many entries the group has read: {fault:?}; the next trimmed entries may be counted twice"
                    );
                }
            }
        }
        if trimmed > 0 {
            self.intake.trimmed(Some(trimmed), &self.stream);
        }
        Ok(())
    }

    /// Whether the server has counted since before the last entry was added that it has handed out. Asked only where
    /// something seems to be missing.
    async fn counted_all_along(&mut self, figures: &Figures) -> Result<bool, Error> {
        if figures.trimmed_unread() == 0 {
            return Ok(false);
        }
        let since = match self.trimmed.counting_since {
            Some(since) => since,
            None => match self.registry.counting_since().await {
                Ok(since) => *self.trimmed.counting_since.insert(since),
                Err(Fault::Permanent(error)) => return Err(error),
                Err(Fault::Transient(_)) => None,
            },
        };
        Ok(since.is_some_and(|since| since <= figures.last_delivered.ms))
    }
}
