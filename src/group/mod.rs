//! The group: consumers that share one source.

pub(crate) mod attempt;
mod builder;
mod components;
pub(crate) mod engine;
mod handle;
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

pub use self::builder::Builder;
pub use self::handle::{BufferUse, Handle};
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
    handle: Handle,
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

    /// A handle to the group: its state, its figures, and a way to stop it. It can be cloned, and given to other tasks.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// See [`Handle::consumers`].
    #[must_use]
    pub fn consumers(&self) -> &[Consumer] {
        self.handle.consumers()
    }

    /// See [`Handle::shards`].
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        self.handle.shards()
    }

    /// See [`Handle::ledger`].
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.handle.ledger()
    }

    /// See [`Handle::backlog`].
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        self.handle.backlog()
    }

    /// See [`Handle::processed_last_second`].
    #[must_use]
    pub fn processed_last_second(&self) -> u64 {
        self.handle.processed_last_second()
    }

    /// Begins to stop: unsubscribes, then finishes and commits what was received. [`join`](Self::join) tells
    /// when that is done.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Ends at once. What was received and not committed is abandoned.
    pub fn abort(&self) {
        self.handle.abort();
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

    /// Runs until the future completes, then [stops](Self::shutdown); or until the group ends by itself, if that is
    /// earlier.
    ///
    /// # Errors
    /// What made the group end by itself, if it did.
    pub async fn run_until(mut self, until: impl Future) -> Result<Ledger, Error> {
        tokio::select! {
            ended = self.join() => return ended,
            _ = until => {}
        }
        self.shutdown().await
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
        self.handle.abort();
    }
}

fn defect() -> Error {
    let source = std::io::Error::other("its thread ended early");
    Error::System { what: "the group ended in a defect of ours; please report it", source }
}
