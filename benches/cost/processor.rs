//! The default processor, from a payload to a record.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use redis_consumer_group::internals::{consumer, message, payload};
use redis_consumer_group::{JsonProcessor, Processor};

use super::{each_of, runtime, timed};

const MEMBERS: &str = r#"{"message_id":"67e55044-10b1-426f-9247-bb680e5fe0c8","user":1234567,"amount":-12.5e3,
    "name":"Grace Hopper","active":true,"parent":null,"tags":["a","b","c"],"place":{"lat":48.1,"lon":11.6},
    "note":"as ordered on Monday","version":2}"#;
const ESCAPES: &str =
    r#"{"message_id":"67e55044\u002d10b1","text":"one line\nand \"another\"\n","p\u00e4th":"C:\\a\\b"}"#;

pub(super) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("processor");
    group.throughput(Throughput::Elements(1));
    let cases = [("1 UUID", payload()), ("10 members", MEMBERS.into()), ("escapes", ESCAPES.into())];
    for (name, payload) in cases {
        const ROUND: u64 = 1000;
        let (runtime, consumer, message) = (runtime(), consumer(0), message(payload.as_bytes()));
        let process = async || JsonProcessor::new().process(&consumer, black_box(message.clone())).await;
        runtime.block_on(process()).expect("a record");
        group.bench_function(name, |bencher| {
            each_of(ROUND, bencher, || {
                timed(|| {
                    runtime.block_on(async {
                        for _ in 0..ROUND {
                            black_box(process().await).ok();
                        }
                    });
                })
            });
        });
    }
}
