//! The queue between the source and the consumers: whole batches go in, messages come out one by one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::message::{Batch, Message};

/// Messages that wait for a consumer. Its bound are the bytes of the [`Buffer`](crate::buffer::Buffer) that
/// every batch has reserved before it comes here.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Consumers that found nothing and wait, or are about to.
    idle: AtomicUsize,
    ready: Notify,
}

#[derive(Default)]
struct State {
    batches: VecDeque<Arc<Batch>>,
    /// No batch comes from the source any more.
    closed: bool,
    /// Messages that wait for their next attempt elsewhere, and will come back.
    set_aside: usize,
}

/// One consumer's place at the queue.
///
/// A batch is shared: every seat takes from it what is next, so that no consumer is idle while messages wait.
/// Only who comes to the end of a batch takes the lock.
pub(crate) struct Seat {
    queue: Arc<Queue>,
    current: Option<Arc<Batch>>,
}

impl Queue {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds a batch at the end.
    pub(crate) fn push(&self, batch: Arc<Batch>) {
        self.lock().batches.push_back(batch);
        self.wake_one();
    }

    /// Says that a message is being set aside: the queue is not drained before it came back.
    pub(crate) fn set_aside(&self) {
        self.lock().set_aside += 1;
    }

    /// Adds a message that was set aside before. It goes first: it has waited longest.
    pub(crate) fn push_again(&self, batch: Arc<Batch>) {
        let mut state = self.lock();
        state.set_aside -= 1;
        state.batches.push_front(batch);
        drop(state);
        self.wake_one();
    }

    /// Says that the source has ended. Consumers end when everything was handed out.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_waiters();
    }

    pub(crate) fn seat(self: &Arc<Self>) -> Seat {
        Seat { queue: self.clone(), current: None }
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

impl Seat {
    /// The next message; `None` when the source has ended and everything was handed out.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        if let Some(message) = self.take() {
            return Some(message);
        }
        let queue = self.queue.clone();
        loop {
            let ready = queue.ready.notified();
            tokio::pin!(ready);
            // Registered, and counted as idle, before the second look: whoever pushes after that look sees
            // us and wakes us.
            ready.as_mut().enable();
            let idle = Idle::enter(&queue.idle);
            if let Some(message) = self.take() {
                return Some(message);
            }
            if queue.lock().is_drained() {
                // A message that was set aside may have been the last to come back: tell the others.
                queue.ready.notify_waiters();
                return None;
            }
            ready.await;
            drop(idle);
        }
    }

    /// Lets go of the shared batch, so that a consumer that takes its time does not hold the memory of
    /// messages that others have finished.
    pub(crate) fn let_go(&mut self) {
        self.current = None;
    }

    fn take(&mut self) -> Option<Message> {
        if let Some(batch) = &self.current {
            if let Some(message) = batch.take() {
                if batch.is_exhausted() {
                    self.retire();
                } else {
                    // Each consumer that was woken wakes the next one, for as long as there is work.
                    self.queue.wake_one();
                }
                return Some(message);
            }
            self.current = None;
        }
        let mut state = self.queue.lock();
        while let Some(front) = state.batches.front() {
            let Some(message) = front.take() else {
                state.batches.pop_front();
                continue;
            };
            if front.is_exhausted() {
                state.batches.pop_front();
            } else {
                self.current = Some(front.clone());
            }
            let more = !state.batches.is_empty();
            drop(state);
            if more {
                self.queue.wake_one();
            }
            return Some(message);
        }
        None
    }

    /// Takes the batch whose last message we have just taken off the queue, so that it is freed with that
    /// message; and wakes a consumer for what comes behind it.
    fn retire(&mut self) {
        self.current = None;
        let mut state = self.queue.lock();
        while state.batches.front().is_some_and(|front| front.is_exhausted()) {
            state.batches.pop_front();
        }
        let more = !state.batches.is_empty();
        drop(state);
        if more {
            self.queue.wake_one();
        }
    }
}

impl State {
    fn is_drained(&self) -> bool {
        self.closed && self.set_aside == 0 && self.batches.iter().all(|batch| batch.is_exhausted())
    }
}

/// Counts a consumer as idle for as long as it lives.
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
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;
    use crate::message::tests::batch;

    fn text(message: &Message) -> String {
        String::from_utf8(message.payload().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn one_seat_gets_everything_in_order() {
        let queue = Queue::new();
        queue.push(batch(&["1", "2"]));
        queue.push(batch(&["3"]));
        queue.push(batch(&["4", "5", "6"]));
        queue.close();
        let mut seat = queue.seat();
        let mut order = String::new();
        while let Some(message) = seat.next().await {
            order += &text(&message);
        }
        assert_eq!(order, "123456");
    }

    #[tokio::test(start_paused = true)]
    async fn no_consumer_is_idle_while_messages_wait() {
        let queue = Queue::new();
        let seats: Vec<_> = (0..4)
            .map(|_| {
                let mut seat = queue.seat();
                tokio::spawn(async move {
                    while seat.next().await.is_some() {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        let start = tokio::time::Instant::now();
        queue.push(batch(&["1", "2", "3", "4", "5"]));
        queue.push(batch(&["6", "7", "8"]));
        queue.close();
        for seat in seats {
            seat.await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_not_drained_before_what_was_set_aside_came_back() {
        let queue = Queue::new();
        queue.set_aside();
        queue.close();
        let seats: Vec<_> = (0..3)
            .map(|_| {
                let mut seat = queue.seat();
                tokio::spawn(async move {
                    let mut taken = 0;
                    while seat.next().await.is_some() {
                        taken += 1;
                    }
                    taken
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(seats.iter().all(|seat| !seat.is_finished()));
        queue.push_again(batch(&["again"]));
        let mut taken = 0;
        for seat in seats {
            taken += seat.await.unwrap();
        }
        assert_eq!(taken, 1);
    }

    #[tokio::test]
    async fn a_batch_is_freed_with_its_last_message() {
        let queue = Queue::new();
        let batch = batch(&["1", "2"]);
        let watch = Arc::downgrade(&batch);
        queue.push(batch);
        let mut seat = queue.seat();
        let mut other = queue.seat();
        drop(seat.next().await);
        drop(other.next().await);
        seat.let_go();
        assert!(watch.upgrade().is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn under_contention_each_message_is_handed_out_once() {
        let queue = Queue::new();
        let seats: Vec<_> = (0..8)
            .map(|_| {
                let mut seat = queue.seat();
                tokio::spawn(async move {
                    let mut mine = Vec::new();
                    while let Some(message) = seat.next().await {
                        mine.push(text(&message));
                        tokio::task::coop::consume_budget().await;
                    }
                    mine
                })
            })
            .collect();
        for round in 0..2_000 {
            let payloads: Vec<_> = (0..round % 7 + 1).map(|n| format!("{round}-{n}")).collect();
            queue.push(batch(&payloads.iter().map(String::as_str).collect::<Vec<_>>()));
            if round % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        queue.close();
        let mut all = Vec::new();
        for seat in seats {
            all.extend(tokio::time::timeout(Duration::from_secs(20), seat).await.unwrap().unwrap());
        }
        let published: usize = (0..2_000).map(|round| round % 7 + 1).sum();
        assert_eq!(all.len(), published);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), published);
    }
}
