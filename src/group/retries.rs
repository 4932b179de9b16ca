//! Messages that were set aside for their next attempt.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;

use crate::message::{Batch, Message};
use crate::queue::Queue;

/// Takes messages that shall be tried again, and puts them back into the queue when their time has come.
pub(crate) struct Retries {
    queue: Arc<Queue>,
    /// Bounded by the buffer: each message holds the bytes it has reserved, its place here included.
    aside: mpsc::UnboundedSender<Arc<Batch>>,
    stop: CancellationToken,
}

/// The task behind [`Retries`]. It ends when `Retries` is dropped.
pub(crate) struct RetryTask {
    queue: Arc<Queue>,
    aside: mpsc::UnboundedReceiver<Arc<Batch>>,
    /// Cancelled when the group stops: what waits gets its remaining attempts soon.
    stop: CancellationToken,
}

impl Retries {
    pub(crate) fn new(queue: Arc<Queue>, stop: CancellationToken) -> (Self, RetryTask) {
        let (sender, aside) = mpsc::unbounded_channel();
        (Self { queue: queue.clone(), aside: sender, stop: stop.clone() }, RetryTask { queue, aside, stop })
    }

    /// Sets the message aside, if there is room for it; tells whether there was.
    pub(crate) fn set_aside(&self, message: &Message) -> bool {
        let Some(batch) = message.set_aside() else { return false };
        self.queue.set_aside();
        if let Err(mpsc::error::SendError(batch)) = self.aside.send(batch) {
            // The task is gone, which only an abort does; nobody will ask for the message either.
            self.queue.push_again(batch);
        }
        true
    }

    /// Waits as long as a message that is set aside waits for this attempt.
    pub(crate) async fn wait(&self, attempt: u32) {
        let stopping = self.stop.is_cancelled();
        tokio::select! {
            () = tokio::time::sleep(delay(attempt, stopping)) => {}
            () = self.stop.cancelled(), if !stopping => {}
        }
    }
}

impl RetryTask {
    pub(crate) async fn run(mut self) {
        let mut waiting = DelayQueue::new();
        let mut stopping = false;
        loop {
            tokio::select! {
                batch = self.aside.recv() => match batch {
                    Some(batch) => {
                        let delay = delay(batch.attempt(), stopping);
                        waiting.insert(batch, delay);
                    }
                    None => return,
                },
                Some(due) = waiting.next_due() => self.again(due),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    let batches: Vec<_> = waiting.drain_all();
                    for batch in batches {
                        self.again(batch);
                    }
                }
            }
        }
    }

    fn again(&self, batch: Arc<Batch>) {
        batch.begins_again();
        self.queue.push_again(batch);
    }
}

/// How long a message waits before this attempt.
fn delay(attempt: u32, stopping: bool) -> Duration {
    let longest = if stopping { Duration::from_millis(100) } else { Duration::from_secs(30) };
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
        .build()
        .nth(attempt.saturating_sub(2).min(64) as usize)
        .unwrap_or(longest)
}

/// What a [`DelayQueue`] needs to be used in a `select!`.
trait Due {
    async fn next_due(&mut self) -> Option<Arc<Batch>>;
    fn drain_all(&mut self) -> Vec<Arc<Batch>>;
}

impl Due for DelayQueue<Arc<Batch>> {
    async fn next_due(&mut self) -> Option<Arc<Batch>> {
        std::future::poll_fn(|context| self.poll_expired(context)).await.map(|expired| expired.into_inner())
    }

    fn drain_all(&mut self) -> Vec<Arc<Batch>> {
        let mut all = Vec::with_capacity(self.len());
        while let Some(key) = self.peek() {
            all.push(self.remove(&key).into_inner());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_and_is_bounded() {
        for (attempt, least) in [(2, 100), (3, 200), (4, 400), (5, 800)] {
            let delay = delay(attempt, false);
            assert!((least..2 * least + 1).contains(&(delay.as_millis() as u64)), "{attempt}: {delay:?}");
        }
        assert!(delay(100, false) <= Duration::from_secs(60));
        assert!(delay(100, true) <= Duration::from_millis(200));
    }
}
