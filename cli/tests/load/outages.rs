//! The server goes away while `load` publishes, or never answers.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::fixture::{load, number, published, start};
use crate::support::Said;
use crate::support::redis::server;

#[tokio::test]
async fn a_restarted_server_gets_the_remaining_messages_and_none_is_counted_twice() {
    let mut server = server().await;
    let url = server.url();
    let mut program = start(&url, "--rate 2000 --count 8000 --json");
    published(&server, 500).await;
    server.kill().unwrap();
    program.wait_for("warning: cannot publish: ");
    // Longer than the limit for the first connection.
    tokio::time::sleep(Duration::from_secs(6)).await;
    server.restart().await.unwrap();
    program.wait_for("publishing again after ");
    let Said { code, stdout, stderr } = program.end().await;
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    let (published, unconfirmed) =
        (summary["published"].as_u64().unwrap(), summary["unconfirmed"].as_u64().unwrap());
    assert_eq!((published + unconfirmed, summary["not_published"].as_u64()), (8000, Some(0)), "{stdout}");
    assert!(published > 7000, "{stdout}");
    assert_eq!(summary["repeated"], 0);
    assert_eq!(code, i32::from(unconfirmed > 0), "{stderr}");
    assert!(stderr.lines().filter(|line| line.starts_with("warning")).count() <= 3, "{stderr}");
}

#[tokio::test]
async fn load_waits_for_a_dead_server_until_a_signal_and_counts_the_waiting_messages() {
    let mut server = server().await;
    let url = server.url();
    let mut program = start(&url, "--rate 2000");
    published(&server, 100).await;
    server.kill().unwrap();
    program.wait_for("warning: cannot publish: ");
    tokio::time::sleep(Duration::from_secs(1)).await;
    program.signal(Signal::INT);
    program.signal(Signal::TERM);
    let said = program.end().await;
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(number(&said) >= 100 && said.stdout.contains(" not published."), "{}", said.stdout);
    assert!(said.stderr.contains("more were not published: no server accepted them"), "{}", said.stderr);
}

#[tokio::test]
async fn load_ends_after_five_seconds_if_the_server_never_answered() {
    let mut server = server().await;
    let url = server.url();
    server.kill().unwrap();
    let start = tokio::time::Instant::now();
    let Said { code, stderr, .. } = load(&url, "--rate 2000");
    assert_eq!(code, 69, "{stderr}");
    assert!(start.elapsed() >= Duration::from_secs(5) && stderr.contains("is not reachable"), "{stderr}");
}
