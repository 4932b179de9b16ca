//! What a server gets at the start: some time to come up.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::backoff::Backoff;
use super::fault::{Fault, passes_soon};
use super::outage::Outage;
use super::server::{self, Server};
use crate::error::Error;
use crate::text::Lasted;

/// How long a server may be away when something starts.
const AWAY: Duration = Duration::from_secs(5);
/// How long it may answer that it cannot serve yet: that it loads its data, or is short of something.
const NOT_READY: Duration = Duration::from_secs(60);

/// Tries until it works, or until the server had its time.
///
/// # Errors
/// [`Error::Config`] where the server speaks TLS and the address says that it does not, or the reverse.
/// What waiting does not repair; [`Error::Unreachable`] or [`Error::NotReady`] with what the last attempt ended with.
pub(crate) async fn retry_at_start<T>(
    server: &Server,
    attempt: impl AsyncFnMut() -> Result<T, Fault>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        end = retry(server, attempt) => end,
        error = server.speaks_otherwise() => Err(error),
    }
}

async fn retry<T>(server: &Server, mut attempt: impl AsyncFnMut() -> Result<T, Fault>) -> Result<T, Error> {
    let started = Instant::now();
    let mut backoff = Backoff::at_the_start();
    let outage = Outage::at_the_start(server.address());
    loop {
        let cause = match attempt().await {
            Ok(done) => return Ok(done),
            Err(Fault::Permanent(error)) => return Err(error),
            Err(Fault::Transient(cause)) => cause,
        };
        let deadline = started + if passes_soon(&cause) { NOT_READY } else { AWAY };
        if Instant::now() >= deadline {
            return Err(server.unavailable(cause));
        }
        outage.failed(&cause);
        // The last attempt is made when the time is over, and not a long wait later.
        let _ = timeout_at(deadline, backoff.wait()).await;
    }
}

/// Waits for what the client crate is asked for. By itself it waits for ever, and so would a start at a server
/// that stands still.
pub(crate) async fn answered<T>(asking: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(server::RESPONSE_TIMEOUT, asking).await.unwrap_or_else(|_| {
        Err(Fault::Transient(format!("no answer for {}", Lasted(server::RESPONSE_TIMEOUT))))
    })
}
