//! Where messages come from.

#[cfg(test)]
pub(crate) mod memory;
mod pubsub;
mod stream;

use tokio_util::sync::CancellationToken;

pub(crate) use self::pubsub::PubSub;
pub(crate) use self::stream::{Membership, Replaying, SharedReplay, Stream};
use crate::error::Error;
use crate::intake::Intake;

/// A source of any kind.
pub(crate) enum AnySource {
    PubSub(Box<PubSub>),
    Stream(Box<Stream>),
}

impl Source for AnySource {
    async fn run(self, intake: Intake, stop: CancellationToken) -> Result<(), Error> {
        match self {
            Self::PubSub(source) => source.run(intake, stop).await,
            Self::Stream(source) => source.run(intake, stop).await,
        }
    }
}

/// A source that is connected and subscribed, and has not delivered anything yet.
pub(crate) trait Source: Send + 'static {
    /// Delivers messages until `stop` is cancelled, and then everything that was published before.
    ///
    /// # Errors
    /// Permanent faults: retrying cannot help. Messages that were delivered before stay with the group.
    fn run(self, intake: Intake, stop: CancellationToken) -> impl Future<Output = Result<(), Error>> + Send;
}
