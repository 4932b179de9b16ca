//! Where messages come from.

#[cfg(test)]
pub(crate) mod memory;
mod pubsub;

use tokio_util::sync::CancellationToken;

pub(crate) use self::pubsub::PubSub;
use crate::error::Error;
use crate::intake::Intake;

/// A source that is connected, subscribed, and about to deliver.
pub(crate) trait Source: Send + 'static {
    /// Delivers messages until `stop` is cancelled, and then everything that was published before.
    ///
    /// # Errors
    /// What waiting cannot mend. What was delivered before stays with the group.
    fn run(self, intake: Intake, stop: CancellationToken) -> impl Future<Output = Result<(), Error>> + Send;
}
