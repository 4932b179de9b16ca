//! How long to wait before the next attempt.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use super::server::Server;

/// From 50 ms to 2 s, doubling, each with up to as much again at random: many clients of a server that comes
/// back do not all knock at once.
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    const LONGEST: Duration = Duration::from_secs(2);
    const AMONG_SEVERAL: Duration = Duration::from_millis(100);
    const AT_THE_START: Duration = Duration::from_millis(500);

    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::up_to(Self::LONGEST)
    }

    /// For the start, which somebody waits for.
    pub(crate) fn at_the_start() -> Self {
        Self::up_to(Self::AT_THE_START)
    }

    /// For connections to this server. Where another node may take over at any moment, the wait stays short.
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
