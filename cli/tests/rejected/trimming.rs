//! `run --rejected-maxlen`.

use crate::fixture::{REJECTED, ledger};
use crate::support::redis::Redis;
use crate::support::{Running, program};

#[tokio::test]
async fn rejected_maxlen_keeps_approximately_the_last_entries() {
    let mut redis = Redis::start().await;
    let mut group = Running::start(
        program(&["--max-messages", "3000", "--rejected-maxlen", "100"]).env("RCG_URL", redis.server.url()),
    );
    group.wait_for_consumers(3);
    let mut pipeline = redis::pipe();
    for n in 0..3000 {
        pipeline.cmd("PUBLISH").arg("messages:published").arg(format!("bad {n}")).ignore();
    }
    pipeline.exec(&mut redis.connection).unwrap();
    let end = group.end().await;
    assert_eq!(ledger(&end), "received 3000 = processed 0 + rejected 3000 + dropped 0; no gaps");
    let left = redis.length(REJECTED);
    assert!((100..600).contains(&left), "{left}");
    assert!(end.stderr.contains("nothing trims messages:processed, so it grows"), "{}", end.stderr);
}
