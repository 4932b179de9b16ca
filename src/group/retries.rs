//! Retries: messages that wait for their next attempt.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;

use crate::message::{Batch, Message};
use crate::queue::Queue;

/// How long messages wait for a retry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delays {
    /// Before the second attempt.
    pub(crate) first: Duration,
    /// The longest wait before any attempt.
    pub(crate) longest: Duration,
}

/// A waiting message, and its delay if the processor has given one.
type Aside = (Arc<Batch>, Option<Duration>);

/// Takes messages that are to be retried, and puts them back into the queue when their delay is over.
pub(crate) struct Retries {
    queue: Arc<Queue>,
    /// Bounded by the buffer: each message keeps the bytes it has reserved, its place here included.
    aside: mpsc::UnboundedSender<Aside>,
    delays: Delays,
    stop: CancellationToken,
}

/// The task behind [`Retries`]. It ends when `Retries` is dropped.
pub(crate) struct RetryTask {
    queue: Arc<Queue>,
    aside: mpsc::UnboundedReceiver<Aside>,
    delays: Delays,
    /// Cancelled when the group stops: waiting messages are then retried soon.
    stop: CancellationToken,
}

impl Retries {
    pub(crate) fn new(queue: Arc<Queue>, delays: Delays, stop: CancellationToken) -> (Self, RetryTask) {
        let (sender, aside) = mpsc::unbounded_channel();
        let task = RetryTask { queue: queue.clone(), aside, delays, stop: stop.clone() };
        (Self { queue, aside: sender, delays, stop }, task)
    }

    /// Sets the message aside for the delay that its processor gave, if there is room. Returns whether there was.
    pub(crate) fn set_aside(&self, message: &Message, asked: Option<Duration>) -> bool {
        let Some(batch) = message.set_aside() else { return false };
        self.queue.set_aside();
        if let Err(mpsc::error::SendError((batch, _))) = self.aside.send((batch, asked)) {
            // The task has ended, which happens only in an abort, so the queue is not read any more either.
            self.queue.push_again(batch);
        }
        true
    }

    /// Waits as long as a message that is set aside would, but at most the longest backoff: the consumer is blocked
    /// meanwhile.
    pub(crate) async fn wait(&self, attempt: u32, asked: Option<Duration>) {
        let stopping = self.stop.is_cancelled();
        let delay = self.delays.before(attempt, asked, stopping).min(self.delays.longest);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
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
                    Some((batch, asked)) => {
                        let delay = self.delays.before(batch.attempt(), asked, stopping);
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

impl Delays {
    /// Each wait is this many times the one before: with the defaults 0.1, 0.4, 1.6 and 6.4 s.
    const FACTOR: f32 = 4.0;
    /// The longest delay that a processor can ask for.
    const MOST: Duration = Duration::from_secs(86_400);
    /// The longest wait while the group stops.
    const STOPPING: Duration = Duration::from_millis(100);

    /// How long a message waits before this attempt: the delay that its processor gave, or the backoff with a jitter of
    /// up to the same time again, but never more than the longest.
    fn before(&self, attempt: u32, asked: Option<Duration>, stopping: bool) -> Duration {
        let longest = if stopping { self.longest.min(Self::STOPPING) } else { self.longest };
        if let Some(asked) = asked {
            return asked.min(if stopping { longest } else { Self::MOST });
        }
        ExponentialBuilder::default()
            .with_factor(Self::FACTOR)
            .with_min_delay(self.first.min(longest))
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter()
            .build()
            .nth(attempt.saturating_sub(2).min(64) as usize)
            .map_or(longest, |delay| delay.min(longest))
    }
}

/// Lets a [`DelayQueue`] be used in a `select!`.
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

    const DEFAULTS: Delays = Delays { first: Duration::from_millis(100), longest: Duration::from_secs(30) };

    #[test]
    fn the_delay_grows_and_is_bounded() {
        for (attempt, least) in [(2, 100), (3, 400), (4, 1600), (5, 6400)] {
            let delay = DEFAULTS.before(attempt, None, false);
            assert!((least..2 * least + 1).contains(&(delay.as_millis() as u64)), "{attempt}: {delay:?}");
        }
        for attempt in [7, 8, 100, u32::MAX] {
            assert_eq!(DEFAULTS.before(attempt, None, false), DEFAULTS.longest);
        }
        assert!(DEFAULTS.before(100, None, true) <= Delays::STOPPING);
    }

    #[test]
    fn a_processor_that_says_when_is_taken_at_its_word() {
        let before = |asked, stopping| DEFAULTS.before(2, Some(asked), stopping);
        for asked in [Duration::ZERO, Duration::from_secs(90)] {
            assert_eq!(before(asked, false), asked);
        }
        // A timer cannot wait that long.
        assert_eq!(before(Duration::MAX, false), Delays::MOST);
        assert_eq!(before(Duration::from_secs(90), true), Delays::STOPPING);
    }
}
