//! A request to stop, visible to several tasks.

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::signals::Signals;

/// Listens for SIGINT and SIGTERM until it is dropped. The first signal asks to finish, the second to end at once.
pub(crate) struct Stop {
    asked: CancellationToken,
    insisted: CancellationToken,
    _listener: AbortOnDropHandle<()>,
}

impl Stop {
    /// Listens from now on. Must be called on the runtime.
    ///
    /// # Errors
    /// If the signal handlers cannot be installed.
    pub(crate) fn on_signals() -> anyhow::Result<Self> {
        let (asked, insisted) = (CancellationToken::new(), CancellationToken::new());
        let mut signals = Signals::new()?;
        let listener = tokio::spawn({
            let steps = [asked.clone(), insisted.clone()];
            async move {
                for step in steps {
                    signals.next().await;
                    step.cancel();
                }
            }
        });
        Ok(Self { asked, insisted, _listener: AbortOnDropHandle::new(listener) })
    }

    /// Waits for the first signal.
    pub(crate) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_cancelled()
    }

    /// Waits for the second signal.
    pub(crate) async fn insisted(&self) {
        self.insisted.cancelled().await;
    }
}
