//! Puts batches into the queue through the intake, and takes messages out one by one.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use redis_consumer_group::internals::{Queue, Receiver, Run, payload, runs};
use tokio::runtime::Builder;
use tokio::task::coop::consume_budget;

use super::{each_of, runtime, timed};

pub(super) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(1));
    for size in [256, 1000] {
        let run = run(size);
        for (claim, receivers) in [(1, 1), (1, 4), (32, 1)] {
            let (runtime, queue) = (runtime(), Queue::new());
            let mut receivers: Vec<_> = (0..receivers).map(|_| queue.receiver()).collect();
            let name =
                format!("batches of {size}, claims of {claim}, receivers {}, threads 1", receivers.len());
            group.bench_function(name, |bencher| {
                each_of(size as u64, bencher, || {
                    let run = run.clone();
                    timed(|| runtime.block_on(pass(&queue, run, size, claim, &mut receivers)))
                });
            });
        }
    }

    const BATCHES: usize = 100;
    let (size, run) = (1000, run(1000));
    let threads = Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    group.bench_function("batches of 1000, claims of 32, receivers 2, threads 2", |bencher| {
        each_of((BATCHES * size) as u64, bencher, || {
            let runs = vec![run.clone(); BATCHES];
            timed(|| threads.block_on(drain_by_two(runs)))
        });
    });
}

fn run(size: usize) -> Run {
    let mut runs = runs((0..size).map(|_| payload()));
    assert_eq!(runs.len(), 1);
    runs.remove(0)
}

/// Puts one batch in, and takes its messages out at the receivers in turn.
async fn pass(queue: &Queue, run: Run, size: usize, claim: usize, receivers: &mut [Receiver]) {
    queue.put(run).await;
    let count = receivers.len();
    for at in 0..size {
        black_box(receivers[at % count].next(claim).await);
    }
}

/// Puts all batches in, then takes their messages out in two tasks.
async fn drain_by_two(runs: Vec<Run>) {
    let queue = Queue::new();
    for run in runs {
        queue.put(run).await;
    }
    queue.close();
    let receivers = [queue.receiver(), queue.receiver()].map(|mut receiver| {
        tokio::spawn(async move {
            while let Some(message) = receiver.next(32).await {
                black_box(message);
                consume_budget().await;
            }
        })
    });
    for receiver in receivers {
        receiver.await.expect("a task that does not panic");
    }
}
