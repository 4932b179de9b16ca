//! Puts records into an appender one by one, and takes them out in commits.

use criterion::{Criterion, Throughput};
use redis_consumer_group::internals::append;

use super::{each_of, records, runtime, timed};

pub(super) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("appender");
    group.throughput(Throughput::Elements(1));
    let (runtime, records) = (runtime(), records(10_000));
    group.bench_function("1 record", |bencher| {
        each_of(records.len() as u64, bencher, || timed(|| runtime.block_on(append(&records))));
    });
}
