//! The group: consumers that share one source.

pub(crate) mod attempt;
mod builder;
mod components;
pub(crate) mod engine;
mod figures;
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
pub use self::figures::{BufferUse, Figures};
pub use self::handle::Handle;
pub use self::shard::Shard;
use crate::config::Config;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::processor::JsonProcessor;

/// A running group of consumers.
///
/// It ends with [`shutdown`](Self::shutdown), or by itself: see [`join`](Self::join). When it is dropped before that,
/// it ends at once, and received messages that were not committed are lost.
#[derive(Debug)]
pub struct ConsumerGroup {
    handle: Handle,
    ended: Option<oneshot::Receiver<Result<(), Error>>>,
}

impl ConsumerGroup {
    /// A builder of a group at the server with this URL, with the default processor.
    pub fn builder(url: impl AsRef<str>) -> Builder<JsonProcessor> {
        Builder::new(url.as_ref().parse())
    }

    /// A builder of a group with this configuration, with the default processor.
    pub fn from_config(config: Config) -> Builder<JsonProcessor> {
        Builder::from_config(config)
    }

    /// The handle to the group: its figures, its state, its consumers, and a way to stop it. Clone it to move it to
    /// another task.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// The counts of all messages so far. [`Handle::figures`] has the other figures too.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.handle.ledger()
    }

    /// Begins the stop: unsubscribes, then finishes and commits the received messages. Returns at once. Use
    /// [`join`](Self::join) to wait for the end.
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Ends at once. Received messages that were not committed are abandoned.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Waits for the end, and returns the final ledger. The future may be dropped and `join` called again.
    ///
    /// A group ends by itself after [`Config::max_messages`], and after a permanent failure.
    ///
    /// # Errors
    /// The failure that ended the group. It is returned once; the ledger stays available.
    pub async fn join(&mut self) -> Result<Ledger, Error> {
        if let Some(ended) = &mut self.ended {
            let end = ended.await;
            self.ended = None;
            end.unwrap_or_else(|_| Err(defect()))?;
        }
        Ok(self.ledger())
    }

    /// Runs until the future completes, then [stops](Self::shutdown). Returns earlier if the group ends by itself.
    ///
    /// # Errors
    /// The failure that ended the group by itself.
    pub async fn run_until(mut self, until: impl Future) -> Result<Ledger, Error> {
        tokio::select! {
            ended = self.join() => return ended,
            _ = until => {}
        }
        self.shutdown().await
    }

    /// Stops and waits for the end: unsubscribes, finishes and commits the received messages, removes the ids from
    /// their list. Messages that are left after [`Config::drain_timeout`] are abandoned and counted in the ledger.
    ///
    /// # Errors
    /// The failure that ended the group by itself.
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
    Error::System {
        what: "the group failed because of a bug in redis-consumer-group; please report it",
        source,
    }
}
