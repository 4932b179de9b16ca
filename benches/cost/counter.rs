//! Counts as each commit does, and reads the counters.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use redis_consumer_group::internals::Counter;

pub(super) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("counter");
    group.throughput(Throughput::Elements(1));
    let counter = Counter::new();
    (0..2000).for_each(|now| counter.add(256, now));
    group.bench_function("add", |bencher| bencher.iter(|| counter.add(black_box(256), black_box(2000))));
    group.bench_function("last second", |bencher| bencher.iter(|| counter.last_second(black_box(2000))));
    group.bench_function("receive and process", |bencher| {
        bencher.iter(|| {
            counter.receive(black_box(256));
            counter.process(black_box(256));
        });
    });
    group.bench_function("ledger", |bencher| bencher.iter(|| counter.ledger()));
}
