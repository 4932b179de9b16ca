//! The server goes away while `load` publishes, or never answers.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{number, published, server};
use crate::process::{Program, texts};

#[tokio::test]
async fn a_restarted_server_gets_the_remaining_messages_and_none_is_counted_twice() {
    let mut server = server().await;
    let url = server.url();
    let mut program = Program::start(&["load", "-u", &url, "--rate", "2000", "--count", "8000", "--json"]);
    published(&server, 500).await;
    server.kill().unwrap();
    program.hears("warning: cannot publish: ").await;
    // Longer than the limit for the first connection.
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.restart().await.unwrap();
    program.hears("publishing again after ").await;
    let output = program.end().await;
    let (stdout, stderr) = texts(&output);
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    let (published, unconfirmed) =
        (summary["published"].as_u64().unwrap(), summary["unconfirmed"].as_u64().unwrap());
    assert_eq!((published + unconfirmed, summary["not_published"].as_u64()), (8000, Some(0)), "{stdout}");
    assert!(published > 7000, "{stdout}");
    assert_eq!(summary["repeated"], 0);
    assert_eq!(output.status.code(), Some(i32::from(unconfirmed > 0)), "{stderr}");
    assert!(stderr.lines().filter(|line| line.starts_with("warning")).count() <= 3, "{stderr}");
}

#[tokio::test]
async fn load_waits_for_a_dead_server_until_a_signal_and_counts_the_waiting_messages() {
    let mut server = server().await;
    let url = server.url();
    let mut program = Program::start(&["load", "-u", &url, "--rate", "2000"]);
    published(&server, 100).await;
    server.kill().unwrap();
    program.hears("warning: cannot publish: ").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    program.signal(Signal::INT);
    program.signal(Signal::TERM);
    let output = program.end().await;
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(number(&stdout) >= 100 && stdout.contains(" not published."), "{stdout}");
    assert!(stderr.contains("more are not published: no server took them"), "{stderr}");
}

#[tokio::test]
async fn load_ends_after_five_seconds_if_the_server_never_answered() {
    let mut server = server().await;
    let url = server.url();
    server.kill().unwrap();
    let start = tokio::time::Instant::now();
    let output = Program::start(&["load", "-u", &url, "--rate", "2000"]).end().await;
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(69), "{stderr}");
    assert!(start.elapsed() >= Duration::from_secs(5) && stderr.contains("is not reachable"), "{stderr}");
}
