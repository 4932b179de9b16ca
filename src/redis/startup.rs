//! The time that a server gets at the start until it must serve.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::backoff::Backoff;
use super::fault::{Fault, passes_soon};
use super::outage::Outage;
use super::server::{self, Server};
use crate::error::Error;
use crate::text::Lasted;

/// How long a server may be away at the start.
const AWAY: Duration = Duration::from_secs(5);
/// How long it may answer that it cannot serve yet: it is loading its data, or is short of something.
const NOT_READY: Duration = Duration::from_secs(60);

/// Repeats the attempt until it succeeds, or until the server's time is over.
///
/// # Errors
/// [`Error::Config`] if the server speaks TLS and the address does not say so, or the reverse. The error of a
/// permanent fault. [`Error::Unreachable`] or [`Error::NotReady`] with the cause of the last attempt.
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
        // Makes the last attempt at the deadline, not a long wait after it.
        let _ = timeout_at(deadline, backoff.wait()).await;
    }
}

/// Limits the wait for a call of the client crate. The crate itself has no limit, so a start at a frozen server would
/// never end.
pub(crate) async fn answered<T>(asking: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(server::RESPONSE_TIMEOUT, asking).await.unwrap_or_else(|_| {
        Err(Fault::Transient(format!("no answer for {}", Lasted(server::RESPONSE_TIMEOUT))))
    })
}
