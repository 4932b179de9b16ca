//! `publish` that is stopped while messages wait for the server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::File;
use std::io::{Seek, Write};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use support::redis::Redis;
use support::{Running, program, run};
use tokio::time::{Instant, sleep};

/// The bytes of a line.
const LINE: u64 = 10;

/// Publishes lines of a file on stdin until the server freezes with some of them unanswered. The position in the file
/// shows how many bytes the program has read.
async fn frozen_in_the_middle(redis: &mut Redis) -> (Running, File) {
    let mut file = tempfile::tempfile().unwrap();
    let lines: String = (0..2_000_000).map(|n| format!("{n:09}\n")).collect();
    file.write_all(lines.as_bytes()).unwrap();
    file.rewind().unwrap();
    let mut publish = program(&["publish", "--to", "stream", "--json"]);
    publish.env("RCG_URL", redis.server.url()).stdin(Stdio::from(file.try_clone().unwrap()));
    let running = Running::start(&mut publish);
    while redis.ask::<u64>(&["XLEN", "messages:published"]) == 0 {}
    redis.server.freeze().unwrap();
    // Longer than it takes to read as much as fits.
    sleep(Duration::from_secs(1)).await;
    (running, file)
}

#[tokio::test]
async fn all_lines_that_were_read_before_the_stop_are_published() {
    let mut redis = Redis::start().await;
    let (running, mut file) = frozen_in_the_middle(&mut redis).await;
    running.signal(Signal::TERM);
    sleep(Duration::from_millis(300)).await;
    redis.server.thaw().unwrap();
    let end = running.end().await;
    let read = file.stream_position().unwrap() / LINE;
    assert!((1..2_000_000).contains(&read), "{read} lines were read: nothing was tried");
    let summary: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!((&summary["messages"], &summary["published"]), (&read.into(), &read.into()), "{summary}");
    assert_eq!((end.code, &*end.stderr), (0, ""));
    assert_eq!(redis.ask::<u64>(&["XLEN", "messages:published"]), read);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_no_line_is_forgotten_in_the_summary() {
    let mut redis = Redis::start().await;
    let (running, mut file) = frozen_in_the_middle(&mut redis).await;
    running.signal(Signal::INT);
    sleep(Duration::from_millis(300)).await;
    let second = Instant::now();
    running.signal(Signal::TERM);
    let end = running.end().await;
    assert!(second.elapsed() < Duration::from_secs(5), "{:?}", second.elapsed());
    let read = file.stream_position().unwrap() / LINE;
    let summary: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!(summary["messages"], read, "{summary}");
    assert!(summary["not_published"].as_u64().unwrap() > 0, "{summary}");
    assert_eq!(end.code, 1, "{}", end.stderr);
}

#[tokio::test]
async fn lines_behind_a_line_without_a_shard_count_as_not_published() {
    let redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let lines: String =
        (0..5000).map(|n| if n == 10 { "{}\n".into() } else { format!("{{\"u\":{n}}}\n") }).collect();
    let file = support::file(folder.path(), "lines", &lines);
    let publish =
        ["publish", "--to", "stream", "--shards", "4", "--shard-by", "u", "--json", "--file", &file];
    let end = run(program(&publish).env("RCG_URL", redis.server.url()));
    let summary: Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!((end.code, &summary["published"]), (1, &10.into()), "{summary}");
    assert!(summary["not_published"].as_u64().unwrap() >= 990, "the rest of the batch at least: {summary}");
    assert!(end.stderr.contains("more were not published: the error below stopped it"), "{}", end.stderr);
}

#[tokio::test]
async fn arguments_count_as_not_published_when_the_server_was_never_reached() {
    let mut redis = Redis::start().await;
    let url = redis.server.url();
    redis.server.kill().unwrap();
    let mut publish = program(&["publish", "-u", &url, "a", "b"]);
    let mut running = Running::start(publish.env("RCG_NOTHING", "1"));
    // The warning about this variable comes just before the program listens for signals.
    running.wait_for("RCG_NOTHING");
    sleep(Duration::from_millis(300)).await;
    running.signal(Signal::INT);
    let end = running.end().await;
    assert_eq!(end.stdout, "Published 0 of 2 messages in 0.00 s (0 per second), 2 not published.\n");
    assert_eq!(end.code, 1, "{}", end.stderr);
}
