//! The whole path of a message, without the socket and the server.

use criterion::{Criterion, SamplingMode, Throughput};
use redis_consumer_group::internals::engine_limit;
use tokio::runtime::Runtime;

use super::each_of;

pub(super) fn benches(criterion: &mut Criterion) {
    const MESSAGES: u64 = 200_000;
    let mut group = criterion.benchmark_group("engine");
    group.throughput(Throughput::Elements(1)).sampling_mode(SamplingMode::Flat).sample_size(10);
    let runtime = Runtime::new().expect("a runtime");
    for consumers in [1, 4] {
        group.bench_function(format!("consumers {consumers}"), |bencher| {
            each_of(MESSAGES, bencher, || runtime.block_on(engine_limit(MESSAGES, consumers)));
        });
    }
}
