//! The group: consumers that share one source, and the handle to them.

mod attempt;
mod builder;
mod components;
pub(crate) mod engine;
mod lifecycle;
pub(crate) mod outbox;
mod pace;
mod retries;
mod shard;
mod start;
#[cfg(test)]
mod tests;
mod worker;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use self::builder::Builder;
pub use self::shard::Shard;
use crate::backlog::Backlog;
use crate::config::Config;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::processor::JsonProcessor;

/// A running group of consumers.
///
/// It ends by [`shutdown`](Self::shutdown), or by itself: see [`join`](Self::join). When it is dropped before
/// that, it ends at once, and what it had received and not committed is lost.
pub struct ConsumerGroup {
    consumers: Vec<Consumer>,
    /// One without a number, or one for each shard.
    shards: Vec<Shard>,
    /// Of all of them: see [`Shared`](self::engine::Shared).
    stop: CancellationToken,
    abort: CancellationToken,
    ended: Option<oneshot::Receiver<Result<(), Error>>>,
}

impl ConsumerGroup {
    /// A builder of a group at the server of this URL, with the default processor.
    pub fn builder(url: impl AsRef<str>) -> Builder<JsonProcessor> {
        Builder::new(url.as_ref().parse())
    }

    /// A builder of a group that is configured as a whole.
    pub fn from_config(config: Config) -> Builder<JsonProcessor> {
        Builder::from_config(config)
    }

    /// The consumers, in the order of their ids in the list; with shards, one shard after the other.
    #[must_use]
    pub fn consumers(&self) -> &[Consumer] {
        &self.consumers
    }

    /// The shards that run here, each with figures of its own; without shards it is one, which has no number.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// What became of the messages so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.shards.iter().map(Shard::ledger).sum()
    }

    /// How far behind the group of the stream is, and with [`Overflow::Spill`](crate::Overflow::Spill) what is in the
    /// spill: looked at once a second. `None` without a stream, and before the first look.
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        self.shards.iter().map(Shard::backlog).sum()
    }

    /// Messages whose commit was confirmed in the last second.
    #[must_use]
    pub fn processed_last_second(&self) -> u64 {
        self.shards.iter().map(Shard::processed_last_second).sum()
    }

    /// Begins to stop: unsubscribes, then finishes and commits what was received. [`join`](Self::join) tells
    /// when that is done.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends at once. What was received and not committed is abandoned.
    pub fn abort(&self) {
        self.abort.cancel();
    }

    /// Waits for the end, and returns the final ledger. May be dropped and called again.
    ///
    /// A group ends by itself after [`Config::max_messages`], and when something fails that waiting does not
    /// repair.
    ///
    /// # Errors
    /// What made the group end. Told once; the ledger stays available.
    pub async fn join(&mut self) -> Result<Ledger, Error> {
        if let Some(ended) = &mut self.ended {
            let end = ended.await;
            self.ended = None;
            end.unwrap_or_else(|_| Err(defect()))?;
        }
        Ok(self.ledger())
    }

    /// Stops, and waits for the end: unsubscribes, finishes and commits what was received, takes the ids out of
    /// their list. After [`Config::drain_timeout`] what is left is abandoned, which the ledger tells.
    ///
    /// # Errors
    /// What made the group end by itself, if it did.
    pub async fn shutdown(mut self) -> Result<Ledger, Error> {
        self.stop();
        self.join().await
    }
}

impl Drop for ConsumerGroup {
    fn drop(&mut self) {
        self.abort.cancel();
    }
}

fn defect() -> Error {
    let source = std::io::Error::other("its thread ended early");
    Error::System { what: "the group ended in a defect of ours; please report it", source }
}
