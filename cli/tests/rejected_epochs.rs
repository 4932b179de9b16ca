//! `rejected replay --count` while its lease is lost.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::time::Duration;

use rustix::process::Signal;
use support::redis::Redis;
use support::{Running, program};

const OUTPUT: &str = "messages:processed";
const REJECTED: &str = "messages:rejected";

impl Redis {
    fn reject_many(&mut self, messages: usize) {
        let mut pipeline = redis::pipe();
        for n in 0..messages {
            let add =
                pipeline.cmd("XADD").arg(REJECTED).arg("*").arg("payload").arg(format!("{{\"n\":{n}}}"));
            add.arg(&["error", "gone", "consumer_id", "c", "source", "messages:published"]).ignore();
        }
        pipeline.exec(&mut self.connection).unwrap();
    }

    fn replay(&self, count: usize) -> Running {
        let mut replay = program(&["rejected", "replay", "--lease", "1s", "--count", &count.to_string()]);
        Running::start(replay.env("RCG_URL", self.server.url()))
    }

    fn length(&mut self, stream: &str) -> usize {
        self.ask(&["XLEN", stream])
    }
}

#[tokio::test]
async fn a_replay_frozen_for_longer_than_its_lease_goes_on_until_its_count() {
    const MESSAGES: usize = 30_000;
    const COUNT: usize = 20_000;
    let mut redis = Redis::start().await;
    redis.reject_many(MESSAGES);
    let first = redis.replay(COUNT);
    while redis.length(OUTPUT) == 0 {}
    first.signal(Signal::STOP);
    let end = redis.replay(100).end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    first.signal(Signal::CONT);
    let end = first.end_within(Duration::from_secs(60)).await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let ledger = end.stdout.lines().last().unwrap();
    assert!(ledger.contains(&format!(" = processed {COUNT} + ")), "{ledger}");
    assert!(ledger.contains(" fenced "), "nothing was discarded, so nothing was tried: {ledger}");
    assert_eq!(redis.length(OUTPUT), COUNT + 100);
    assert_eq!(redis.length(REJECTED), MESSAGES - COUNT - 100);
}
