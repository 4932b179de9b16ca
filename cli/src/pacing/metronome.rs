//! Precise ticks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;

use super::wait::{precise_sleep, wait_until};
use crate::clock;

/// Ticks at `start + n × interval`, from a separate thread. Dropping this ends the thread and joins it.
pub(crate) struct Metronome {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Stores at most one tick: a task that missed three ticks wakes once.
    tick: Notify,
    over: AtomicBool,
}

impl Metronome {
    /// Starts to tick, one interval from now.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub(crate) fn start(interval: Duration) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let thread = thread::Builder::new().name("metronome".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || beat(&shared, interval)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Waits for the next tick, or takes the one that came since the last call.
    pub(crate) async fn tick(&self) {
        self.shared.tick.notified().await;
    }
}

impl Drop for Metronome {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread spins for 0.2 ms at most and cannot panic.
            let _ = thread.join();
        }
    }
}

fn beat(shared: &Shared, interval: Duration) {
    precise_sleep();
    // Over 500 years fit.
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    let mut deadline = clock::now();
    let is_over = || shared.over.load(Ordering::Acquire);
    loop {
        deadline = deadline.saturating_add(interval);
        if !wait_until(deadline, is_over) || is_over() {
            return;
        }
        shared.tick.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test]
    async fn ticks_keep_their_deadlines_however_late_each_one_is_taken() {
        let interval = Duration::from_millis(2);
        let start = Instant::now();
        let metronome = Metronome::start(interval).unwrap();
        for n in 1..=50 {
            metronome.tick().await;
            assert!(start.elapsed() >= interval * n, "tick {n} came after {:?}", start.elapsed());
        }
    }

    #[tokio::test]
    async fn a_metronome_that_waits_for_an_hour_ends_at_once() {
        let start = Instant::now();
        drop(Metronome::start(Duration::from_secs(3600)).unwrap());
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
