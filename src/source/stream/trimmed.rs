//! Counts entries that were trimmed from the stream before the group had read them.

use std::time::Duration;

use tokio::time::Instant;

use super::reading::Reading;
use crate::error::Error;
use crate::message::Origin;
use crate::redis::fault::Fault;
use crate::redis::registry::{Entries, Figures};

/// How often to ask again whether the server's count of read entries is reliable.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The figures from which the number of such entries is computed.
pub(super) struct Trimmed {
    /// The figures of the last read.
    figures: Option<Figures>,
    /// Whether the server's count of entries that the group has read is reliable.
    reliable: bool,
    /// When the server was last asked about that.
    asked: Option<Instant>,
    /// Since when the server has counted, once it was asked.
    counting_since: Option<Option<u64>>,
    /// Whether this group trims the stream, and only acknowledged entries.
    trims: bool,
}

impl Trimmed {
    pub(super) fn new(trims: bool) -> Self {
        Self { figures: None, reliable: false, asked: None, counting_since: None, trims }
    }

    /// Starts again: the stream or the group was recreated.
    pub(super) fn forget(&mut self) {
        self.figures = None;
        self.distrust();
    }

    /// Stops relying on the count: the server may have been replaced or restarted.
    pub(super) fn distrust(&mut self) {
        (self.reliable, self.asked, self.counting_since) = (false, None, None);
    }

    fn is_due(&self) -> bool {
        !self.reliable && self.asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN)
    }
}

impl Reading {
    /// Checks the server's count before reading entries that may come after trimmed ones.
    pub(super) async fn verify_count(&mut self) -> Result<(), Error> {
        // Only this group trims a spill. Rejected messages may be removed by their operator.
        if !matches!(self.source.origin, Origin::Input(_)) || !self.source.trimmed.is_due() {
            return Ok(());
        }
        self.source.trimmed.asked = Some(Instant::now());
        match self.source.registry.verify().await {
            Ok(reliable) => self.source.trimmed.reliable = reliable,
            Err(Fault::Permanent(error)) => return Err(error),
            Err(Fault::Transient(cause)) => {
                tracing::debug!("cannot read how many entries the group has read: {cause}")
            }
        }
        Ok(())
    }

    /// Counts entries that were trimmed before they were read. The next entries that are read come after them.
    pub(super) async fn count_trimmed(&mut self, figures: Figures, read: &Entries) -> Result<(), Error> {
        let earlier = self.source.trimmed.figures.replace(figures);
        if !matches!(self.source.origin, Origin::Input(_)) {
            return Ok(());
        }
        let reliable = self.source.trimmed.reliable || self.count_is_complete(&figures).await?;
        let figures = if reliable { figures } else { Figures { read: None, ..figures } };
        if !self.source.trimmed.trims
            && earlier.is_some_and(|earlier| figures.may_have_trimmed_unread_since(&earlier))
        {
            self.intake.trimmed(None, &self.source.stream);
        }
        let mut trimmed = figures.trimmed_unread();
        match read.list.last() {
            _ if trimmed == 0 => {}
            // The first process moves the group behind them, so that they are counted once.
            None => match self.source.registry.skip().await {
                Ok(skipped) => trimmed = skipped,
                Err(Fault::Permanent(error)) => return Err(error),
                // The move may have been executed; then nobody counts these entries.
                Err(Fault::Transient(_)) => {
                    trimmed = 0;
                    self.intake.trimmed(None, &self.source.stream);
                }
            },
            Some(last) => {
                let position = figures.removed() + read.list.len() as u64;
                // A refusal has no other consequence than the one in the message.
                if let Err(fault) = self.source.registry.repair(last.id, position).await {
                    tracing::debug!(
                        "cannot set how many entries the group has read: {fault:?}; the next trimmed entries may be counted twice"
                    );
                }
            }
        }
        if trimmed > 0 {
            self.intake.trimmed(Some(trimmed), &self.source.stream);
        }
        Ok(())
    }

    /// Whether the server has counted since before its last delivered entry was added. Only asked
    /// if entries seem to be missing.
    async fn count_is_complete(&mut self, figures: &Figures) -> Result<bool, Error> {
        if figures.trimmed_unread() == 0 {
            return Ok(false);
        }
        let since = match self.source.trimmed.counting_since {
            Some(since) => since,
            None => match self.source.registry.counting_since().await {
                Ok(since) => *self.source.trimmed.counting_since.insert(since),
                Err(Fault::Permanent(error)) => return Err(error),
                Err(Fault::Transient(_)) => None,
            },
        };
        Ok(since.is_some_and(|since| since <= figures.last_delivered.ms))
    }
}
