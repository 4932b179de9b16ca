//! `load --rate` during an outage of the server.

use crate::support::cluster::{calls, eventually};
use crate::support::redis::Redis;
use crate::support::{Running, Said, TIMEOUT, program};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{Duration, sleep};

/// A load at a rate of 1000 a second, whose server dies in the middle.
async fn load_of_a_server_that_dies(redis: &mut Redis, args: &[&str]) -> Running {
    let mut load = program(&["load", "--rate", "1000", "--json"]);
    let mut running = Running::start(load.args(args).env("RCG_URL", redis.server.url()));
    eventually("messages are published", TIMEOUT, || calls(&redis.server, "publish") >= 100).await;
    redis.server.kill().unwrap();
    running.wait_for("warning: cannot publish: ");
    running
}

fn summary(end: &Said) -> [u64; 4] {
    let summary: Value = serde_json::from_str(&end.stdout).unwrap();
    ["messages", "published", "unconfirmed", "not_published"].map(|count| summary[count].as_u64().unwrap())
}

#[tokio::test]
async fn messages_that_were_due_in_an_outage_until_the_end_count_as_not_published() {
    let mut redis = Redis::start().await;
    let running = load_of_a_server_that_dies(&mut redis, &["--duration", "3s"]).await;
    // Two seconds after the end it makes no more messages. Those that wait are published for 30 seconds.
    sleep(Duration::from_secs(6)).await;
    redis.server.restart().await.unwrap();
    let end = running.end().await;
    let [due, published, unconfirmed, not_published] = summary(&end);
    assert_eq!((due, published + unconfirmed + not_published), (3000, 3000), "{}", end.stdout);
    assert!(not_published > 1000, "{}", end.stdout);
    assert!(end.stderr.contains(&format!("{not_published} more were not published")), "{}", end.stderr);
    assert_eq!(end.code, 1, "{}", end.stderr);
}

#[tokio::test]
async fn messages_that_were_due_in_an_outage_until_a_signal_count_as_not_published() {
    let mut redis = Redis::start().await;
    let running = load_of_a_server_that_dies(&mut redis, &["--count", "1000000"]).await;
    sleep(Duration::from_secs(2)).await;
    running.signal(Signal::INT);
    sleep(Duration::from_millis(500)).await;
    running.signal(Signal::TERM);
    let end = running.end().await;
    let [due, _, _, not_published] = summary(&end);
    assert!(not_published >= 2000 && due < 100_000, "{}", end.stdout);
    assert_eq!(end.code, 1, "{}", end.stderr);
}
