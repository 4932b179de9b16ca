//! The simulated work of a processor, and how often it can be done without a group.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis_consumer_group::{Consumer, Failure, JsonProcessor, Message, Outcome, Processor};
use tokio::task::JoinSet;

use super::protocol::Work;
use crate::clock;

/// Does the work, then runs the default processor.
pub(super) struct Working {
    pub(super) work: Work,
    pub(super) then: JsonProcessor,
}

impl Processor for Working {
    type Error = Failure;

    async fn process(&self, consumer: &Consumer, message: Message) -> Result<Outcome, Failure> {
        perform(self.work).await;
        self.then.process(consumer, message).await
    }
}

/// Never finishes, so that the group must hold or drop every message.
pub(super) struct Stuck;

impl Processor for Stuck {
    type Error = Failure;

    async fn process(&self, _: &Consumer, _: Message) -> Result<Outcome, Failure> {
        std::future::pending().await
    }
}

/// How often this number of tasks together do the work in a second.
pub(super) async fn rate(consumers: usize, work: Work, seconds: f64) -> f64 {
    let done = Arc::<AtomicU64>::default();
    let begin = clock::now();
    // Ends with this function.
    let mut tasks = JoinSet::new();
    for _ in 0..consumers {
        let done = Arc::clone(&done);
        tasks.spawn(async move {
            loop {
                perform(work).await;
                done.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    done.load(Ordering::Relaxed) as f64 / clock::seconds(begin, clock::now())
}

async fn perform(work: Work) {
    if let Some(micros) = work.wait_us {
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
    if let Some(micros) = work.compute_us {
        // The thread's CPU time, not the clock: a thread that is not scheduled does not compute.
        let end = clock::thread_cpu() + micros * 1000;
        while clock::thread_cpu() < end {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn many_tasks_wait_at_the_same_time() {
        let work = Work { wait_us: Some(20_000), compute_us: None };
        let (one, many) = (rate(1, work, 0.3).await, rate(50, work, 0.3).await);
        assert!(one <= 50.0, "{one}");
        assert!(many > 3.0 * one, "{one} {many}");
    }

    #[tokio::test]
    async fn computing_uses_the_cpu_of_its_thread() {
        let before = clock::thread_cpu();
        perform(Work { wait_us: None, compute_us: Some(2000) }).await;
        assert!(clock::thread_cpu() - before >= 2_000_000);
    }
}
