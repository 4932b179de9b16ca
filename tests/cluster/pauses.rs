//! Measures for how long shards confirm nothing.

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Shard};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Polls how many messages each shard has processed.
pub(crate) struct Pauses {
    stop: CancellationToken,
    looking: AbortOnDropHandle<Vec<Duration>>,
}

impl Pauses {
    /// Starts to measure.
    pub(crate) fn of(group: &ConsumerGroup) -> Self {
        let (shards, stop) = (group.handle().shards().to_vec(), CancellationToken::new());
        let looking = tokio::spawn(look(shards, stop.clone()));
        Self { stop, looking: AbortOnDropHandle::new(looking) }
    }

    /// Returns the longest time for which each shard has processed nothing.
    pub(crate) async fn end(self) -> Vec<Duration> {
        self.stop.cancel();
        self.looking.await.unwrap()
    }
}

async fn look(shards: Vec<Shard>, stop: CancellationToken) -> Vec<Duration> {
    let mut looks = interval(Duration::from_millis(10));
    let mut seen = vec![(0, Instant::now(), Duration::ZERO); shards.len()];
    while !stop.is_cancelled() {
        looks.tick().await;
        for (shard, (processed, since, longest)) in shards.iter().zip(&mut seen) {
            *longest = since.elapsed().max(*longest);
            let now = shard.figures().ledger.processed;
            if now != *processed {
                (*processed, *since) = (now, Instant::now());
            }
        }
    }
    seen.into_iter().map(|(.., longest)| longest).collect()
}
