//! How long to wait before the next attempt.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::server::Server;

/// Doubles from 50 ms to 2 s (less in the cases below). Each wait has random jitter of up to its own length, so that
/// many clients do not reconnect at the same moment when a server comes back.
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(2);
    const AMONG_SEVERAL: Duration = Duration::from_millis(100);
    const AT_THE_START: Duration = Duration::from_millis(500);

    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::up_to(Self::LONGEST)
    }

    /// For the start, where somebody waits for the result.
    pub(crate) fn at_the_start() -> Self {
        Self::up_to(Self::AT_THE_START)
    }

    /// For connections to this server. The wait stays short where another node may take over at any moment.
    pub(crate) fn at(server: &Server) -> Self {
        Self::up_to(if server.has_successors() { Self::AMONG_SEVERAL } else { Self::LONGEST })
    }

    fn up_to(longest: Duration) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        Self(builder.build())
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0.next().unwrap_or(Self::LONGEST)).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_and_stays_bounded() {
        let mut backoff = Backoff::new();
        let mut waits = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            backoff.wait().await;
            waits.push(start.elapsed());
        }
        assert!(waits[0] <= Duration::from_millis(102), "{waits:?}");
        assert!(waits[10..].iter().all(|wait| *wait >= Duration::from_secs(2)), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(4_100)), "{waits:?}");
    }
}
