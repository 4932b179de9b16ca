//! What a server gets at the start: a few seconds to come up.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::backoff::Backoff;
use super::server::{self, Server};
use super::setback::Setback;
use crate::error::Error;

/// How long a server may refuse connections, or be loading, when something starts.
const PATIENCE: Duration = Duration::from_secs(5);

/// Tries until it works, or until the server had its time.
///
/// # Errors
/// What waiting does not mend, or [`Error::Unreachable`] with what the last attempt ended with.
pub(crate) async fn patiently<T>(
    server: &Server,
    mut attempt: impl AsyncFnMut() -> Result<T, Setback>,
) -> Result<T, Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut backoff = Backoff::new();
    loop {
        let cause = match attempt().await {
            Ok(done) => return Ok(done),
            Err(Setback::Final(error)) => return Err(error),
            Err(Setback::Passing(cause)) => cause,
        };
        if Instant::now() >= deadline {
            return Err(server.unreachable(cause));
        }
        tracing::debug!("not yet: {cause}");
        // The last attempt is made when the time is over, and not a long wait later.
        let _ = timeout_at(deadline, backoff.wait()).await;
    }
}

/// Waits for what the client crate is asked for. By itself it waits for ever, and so would a start at a server
/// that stands still.
pub(crate) async fn answered<T>(asking: impl Future<Output = Result<T, Setback>>) -> Result<T, Setback> {
    timeout(server::PATIENCE, asking)
        .await
        .unwrap_or_else(|_| Err(Setback::Passing(format!("no answer for {:?}", server::PATIENCE))))
}
