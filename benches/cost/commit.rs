//! Encodes records into a transaction, as it goes over the wire.

use criterion::{Criterion, Throughput};
use redis_consumer_group::internals::Encoder;

use super::{each_of, records, timed};

pub(super) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commit");
    group.throughput(Throughput::Elements(1));
    for size in [1, 256] {
        let (mut encoder, records) = (Encoder::new(), records(256));
        group.bench_function(format!("1 record of {size}"), |bencher| {
            each_of(records.len() as u64, bencher, || {
                timed(|| records.chunks(size).for_each(|commit| encoder.encode(commit)))
            });
        });
    }
}
