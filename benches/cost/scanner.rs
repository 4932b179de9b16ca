//! Reads a socket that always has more data, and finds the messages in it.

use criterion::{Criterion, Throughput};
use redis_consumer_group::internals::{frames, payload, scan};

use super::{each_of, runtime, timed};

pub(super) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scanner");
    group.throughput(Throughput::Elements(1));
    let kibibyte = || format!(r#"{{"message_id":"{}"}}"#, "x".repeat(1024 - 17));
    let cases: [(&str, usize, &dyn Fn() -> String); 2] =
        [("1 UUID", 40_000, &payload), ("1 KiB", 4_000, &kibibyte)];
    for (name, messages, payload) in cases {
        let frames = frames((0..messages).map(|_| payload()));
        let runtime = runtime();
        group.bench_function(name, |bencher| {
            each_of(messages as u64, bencher, || {
                timed(|| assert_eq!(runtime.block_on(scan(frames.clone())), messages))
            });
        });
    }
}
