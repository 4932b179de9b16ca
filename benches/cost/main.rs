//! The cost of one message, part by part and in the whole engine.
//!
//!     cargo bench --features internals
//!     cargo bench --features internals -- scanner

mod appender;
mod commit;
mod counter;
mod engine;
mod processor;
mod queue;
mod scanner;

use std::time::Duration;

use criterion::{Bencher, criterion_group, criterion_main};
use redis_consumer_group::Record;
use redis_consumer_group::internals::payload;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

criterion_group!(
    all,
    scanner::benches,
    queue::benches,
    processor::benches,
    appender::benches,
    commit::benches,
    counter::benches,
    engine::benches
);
criterion_main!(all);

/// Measures one message, in rounds of `messages` each. `round` returns how long its round took.
fn each_of(messages: u64, bencher: &mut Bencher<'_>, mut round: impl FnMut() -> Duration) {
    bencher.iter_custom(|asked| {
        let rounds = asked.div_ceil(messages);
        let took: Duration = (0..rounds).map(|_| round()).sum();
        took.mul_f64(asked as f64 / (rounds * messages) as f64)
    });
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// A runtime for work that does not wait.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// Records as from the default processor, with ids.
fn records(count: usize) -> Vec<Record> {
    let id = |_| payload()[15..51].to_owned();
    (0..count).map(|n| Record::new().field("message_id", id(n)).field("consumer_id", id(n))).collect()
}
