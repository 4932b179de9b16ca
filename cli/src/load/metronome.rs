//! Precise ticks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Ticks at `start + n × interval`, from a separate thread.
///
/// Tokio's timer is up to a millisecond late and a sleeping thread 0.2 ms: too much for an even rate of thousands of
/// messages a second. So the thread sleeps until shortly before the deadline and spins for the rest. Dropping this ends
/// the thread and joins it.
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
            // The thread spins for at most SPIN and cannot panic.
            let _ = thread.join();
        }
    }
}

/// The part of the wait that is spent spinning.
const SPIN: Duration = Duration::from_micros(200);

fn beat(shared: &Shared, interval: Duration) {
    let mut deadline = Instant::now() + interval;
    loop {
        // Spurious wake-ups repeat this loop.
        while let Some(rest) =
            deadline.checked_duration_since(Instant::now() + SPIN).filter(|rest| !rest.is_zero())
        {
            thread::park_timeout(rest);
            if shared.over.load(Ordering::Acquire) {
                return;
            }
        }
        while Instant::now() < deadline {
            std::hint::spin_loop();
        }
        if shared.over.load(Ordering::Acquire) {
            return;
        }
        shared.tick.notify_one();
        deadline += interval;
    }
}

#[cfg(test)]
mod tests {
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
