//! The queue between the source and the consumers: whole batches go in, single messages come out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::message::{Batch, Message, Portion};

/// Messages that wait for a consumer. The queue is bounded by the bytes of the [`Buffer`](crate::buffer::Buffer), which
/// every batch reserves before it is pushed.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Consumers that found nothing and wait, or are about to wait.
    idle: AtomicUsize,
    ready: Notify,
    /// A source waits here until the consumers have few messages left.
    low: Notify,
    /// Whether a source waits for `low`.
    watched: AtomicBool,
    /// Messages that wait for their next attempt.
    retries: Arc<AtomicUsize>,
}

/// Counts a message that waits for its next attempt, until this is dropped.
pub(crate) struct WaitsToRetry(Arc<AtomicUsize>);

/// How much work waits, and how many consumers could take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Messages that no consumer has begun.
    pub(crate) waiting: usize,
    /// Consumers without a message.
    pub(crate) idle: usize,
    /// Messages begun since the queue was created.
    pub(crate) begun: u64,
}

#[derive(Default)]
struct State {
    /// Never contains an empty portion.
    portions: VecDeque<Portion>,
    /// The number of messages in all portions.
    waiting: usize,
    /// Messages that were handed out and not given back.
    begun: u64,
    /// A waiting source is woken when this many messages are left.
    low: usize,
    /// Set when no more batches come from the source.
    closed: bool,
    /// Messages that were set aside for a retry, plus claims that may be given back: the queue is not drained before
    /// they are back.
    out: usize,
}

/// One consumer's end of the queue.
///
/// It claims one message, or a few when its consumer is quick, so that the lock is taken once for all of them.
pub(crate) struct Receiver {
    queue: Arc<Queue>,
    /// The rest of its claim, if it has claimed several messages.
    claimed: Option<Portion>,
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a batch at the end.
    pub(crate) fn push(&self, batch: Arc<Batch>) {
        let mut state = self.lock();
        state.waiting += batch.len();
        state.portions.push_back(Portion::of(batch));
        drop(state);
        self.wake_one();
    }

    /// Adds a batch at the front, because it has already waited elsewhere.
    pub(crate) fn push_first(&self, batch: Arc<Batch>) {
        let mut state = self.lock();
        state.waiting += batch.len();
        state.portions.push_front(Portion::of(batch));
        drop(state);
        self.wake_one();
    }

    /// Waits until at most `few` messages wait (if `few` is given), or more consumers are idle than messages wait.
    pub(crate) async fn runs_low(&self, few: Option<usize>) -> Demand {
        loop {
            let low = self.low.notified();
            // Set before the check: a consumer that changes something after the check sees that a source waits.
            self.watched.store(true, Ordering::SeqCst);
            let demand = {
                let mut state = self.lock();
                state.low = few.unwrap_or(0);
                let idle = self.idle.load(Ordering::SeqCst);
                Demand { waiting: state.waiting, idle, begun: state.begun }
            };
            if few.is_some_and(|few| demand.waiting <= few) || demand.idle > demand.waiting {
                self.watched.store(false, Ordering::SeqCst);
                return demand;
            }
            low.await;
        }
    }

    /// Records that a message is being set aside: the queue is not drained before it is back.
    pub(crate) fn set_aside(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        self.lock().out += 1;
    }

    /// Adds a message that was set aside. It goes to the front, because it has waited longest.
    pub(crate) fn push_again(&self, batch: Arc<Batch>) {
        self.retries.fetch_sub(1, Ordering::Relaxed);
        self.put_back(Portion::of(batch), 0);
    }

    /// How many messages wait for their next attempt.
    pub(crate) fn retries_waiting(&self) -> usize {
        self.retries.load(Ordering::Relaxed)
    }

    /// Records that the source has ended. Consumers end when all messages were handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_waiters();
    }

    pub(crate) fn receiver(self: &Arc<Self>) -> Receiver {
        Receiver { queue: self.clone(), claimed: None }
    }

    /// Puts a portion back at the front. `begun` of its messages were counted as begun, and no longer are.
    fn put_back(&self, portion: Portion, begun: u64) {
        let mut state = self.lock();
        state.out -= 1;
        state.waiting += portion.len();
        state.begun -= begun;
        state.portions.push_front(portion);
        drop(state);
        self.wake_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_one(&self) {
        if self.idle.load(Ordering::SeqCst) > 0 {
            self.ready.notify_one();
        }
    }
}

impl Receiver {
    /// The next message. `None` when the source has ended and all messages were handed out. Without a current claim, it
    /// claims at most `most` messages.
    pub(crate) async fn next(&mut self, most: usize) -> Option<Message> {
        if let Some(message) = self.take(most) {
            return Some(message);
        }
        // From here on there is no current claim.
        let queue = self.queue.clone();
        loop {
            let ready = queue.ready.notified();
            tokio::pin!(ready);
            // Register and count as idle before the second check: a producer that pushes after that check sees this
            // consumer as idle and wakes it.
            ready.as_mut().enable();
            let mut idle = Some(Idle::enter(&queue.idle));
            if queue.watched.load(Ordering::SeqCst) {
                queue.low.notify_one();
            }
            if let Some(message) = self.claim(most, &mut idle) {
                return Some(message);
            }
            if queue.lock().is_drained() {
                // The last message that was out may have come back to this consumer: wake the others, so that they end
                // too.
                queue.ready.notify_waiters();
                return None;
            }
            ready.await;
            drop(idle);
        }
    }

    /// Records that this consumer keeps a message until its next attempt.
    pub(crate) fn waits_to_retry(&self) -> WaitsToRetry {
        self.queue.retries.fetch_add(1, Ordering::Relaxed);
        WaitsToRetry(self.queue.retries.clone())
    }

    /// Whether the current claim has messages that were not taken yet.
    pub(crate) fn has_claimed(&self) -> bool {
        self.claimed.is_some()
    }

    /// Gives the rest of the claim back: this consumer is slower than expected.
    pub(crate) fn give_back(&mut self) {
        if let Some(portion) = self.claimed.take() {
            let begun = portion.len() as u64;
            self.queue.put_back(portion, begun);
        }
    }

    /// The next message, if one is available.
    pub(crate) fn take(&mut self, most: usize) -> Option<Message> {
        match &mut self.claimed {
            Some(claimed) => {
                let message = claimed.next();
                if claimed.is_empty() {
                    // Free the batch together with its last message, not at the consumer's next call.
                    self.claimed = None;
                    self.queue.lock().out -= 1;
                }
                message
            }
            None => self.claim(most, &mut None),
        }
    }

    /// Claims messages, and ends the idleness of this consumer in the same step. Otherwise a source could see a consumer
    /// without work and no message that waits, and fetch one that then waits here while another process is idle.
    fn claim(&mut self, most: usize, idle: &mut Option<Idle<'_>>) -> Option<Message> {
        let mut state = self.queue.lock();
        let mut claimed = state.portions.front_mut()?.split(most);
        state.waiting -= claimed.len();
        state.begun += claimed.len() as u64;
        let low = state.waiting <= state.low;
        if state.portions.front().is_some_and(Portion::is_empty) {
            state.portions.pop_front();
        }
        let message = claimed.next();
        let several = !claimed.is_empty();
        if several {
            state.out += 1;
        }
        let more = !state.portions.is_empty();
        *idle = None;
        drop(state);
        if low && self.queue.watched.load(Ordering::SeqCst) {
            self.queue.low.notify_one();
        }
        self.claimed = several.then_some(claimed);
        if more {
            // Each woken consumer wakes the next one while there is work.
            self.queue.wake_one();
        }
        message
    }
}

impl Drop for WaitsToRetry {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Receiver {
    /// A consumer that ends early gives its claim back.
    fn drop(&mut self) {
        self.give_back();
    }
}

impl State {
    fn is_drained(&self) -> bool {
        self.closed && self.out == 0 && self.portions.is_empty()
    }
}

/// Counts a consumer as idle until this is dropped.
struct Idle<'a>(&'a AtomicUsize);

impl<'a> Idle<'a> {
    fn enter(idle: &'a AtomicUsize) -> Self {
        idle.fetch_add(1, Ordering::SeqCst);
        Self(idle)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
