//! `rejected replay --count` while its lease is lost.

use crate::fixture::{OUTPUT, REJECTED};
use crate::support::Running;
use crate::support::redis::Redis;
use rustix::process::Signal;

/// Makes rejected messages that can all be processed.
fn reject(redis: &mut Redis, messages: usize) {
    let mut pipeline = redis::pipe();
    for n in 0..messages {
        let add = pipeline.cmd("XADD").arg(REJECTED).arg("*").arg("payload").arg(format!("{{\"n\":{n}}}"));
        add.arg(&["error", "gone", "consumer_id", "c", "source", "messages:published"]).ignore();
    }
    pipeline.exec(&mut redis.connection).unwrap();
}

fn replay(redis: &Redis, count: usize) -> Running {
    redis.replay(&["--lease", "1s", "--count", &count.to_string()])
}

#[tokio::test]
async fn a_replay_frozen_for_longer_than_its_lease_goes_on_until_its_count() {
    const MESSAGES: usize = 30_000;
    const COUNT: usize = 20_000;
    let mut redis = Redis::start().await;
    reject(&mut redis, MESSAGES);
    let first = replay(&redis, COUNT);
    while redis.length(OUTPUT) == 0 {}
    first.signal(Signal::STOP);
    let end = replay(&redis, 100).end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    first.signal(Signal::CONT);
    let end = first.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let ledger = end.stdout.lines().last().unwrap();
    assert!(ledger.contains(&format!(" = processed {COUNT} + ")), "{ledger}");
    assert!(ledger.contains(" fenced "), "nothing was discarded, so nothing was tried: {ledger}");
    assert_eq!(redis.length(OUTPUT), COUNT + 100);
    assert_eq!(redis.length(REJECTED), MESSAGES - COUNT - 100);
}
