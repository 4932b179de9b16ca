//! The log during an outage of the server.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::time::Duration;

use rustix::process::Signal;
use support::redis::Redis;
use support::{Running, program};
use tokio::time::sleep;

/// A server, and a connection that sends commands to it.
impl Redis {
    fn order(&mut self, order: &str) {
        self.ask::<()>(&order.split(' ').collect::<Vec<_>>());
    }

    /// Fills the server's memory. Returns whether it then refuses subscriptions, as Redis 8.6 does.
    fn fill(&mut self) -> bool {
        self.order("CONFIG SET maxmemory 1");
        let mut other = redis::Client::open(self.server.url()).unwrap().get_connection().unwrap();
        let refusal = redis::cmd("SUBSCRIBE").arg("a-channel").exec(&mut other).err();
        assert!(refusal.as_ref().is_none_or(|error| error.code() == Some("OOM")), "{refusal:?}");
        refusal.is_some()
    }
}

fn lines(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

#[tokio::test]
async fn the_start_waits_for_a_server_without_memory_and_each_stream_is_named_once() {
    let mut redis = Redis::start().await;
    let refuses_subscriptions = redis.fill();
    let mut group = Running::start(&mut program(&["-u", &redis.server.url()]));
    if refuses_subscriptions {
        group.wait_for("cannot use Redis at redis://127.0.0.1:");
        // Long enough for several attempts, which all fail in the same way.
        sleep(Duration::from_secs(3)).await;
        redis.order("CONFIG SET maxmemory 0");
        group.wait_for_consumers(3);
    } else {
        group.wait_for_consumers(3);
        redis.order("CONFIG SET maxmemory 0");
    }
    redis.order("PUBLISH messages:published {\"a\":1}");
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert!(end.stdout.contains("received 1 = processed 1 "), "{}", end.stdout);
    for line in ["cannot append to messages:processed (OOM", "cannot append to messages:rejected (OOM"] {
        assert_eq!(lines(&end.stderr, line), 1, "{line}: {}", end.stderr);
    }
    assert_eq!(lines(&end.stderr, "not reachable"), 0, "{}", end.stderr);
}

#[tokio::test]
async fn the_reason_for_a_failed_resubscription_is_logged_at_once_and_is_the_cause_of_the_gap() {
    let mut redis = Redis::start().await;
    let mut group = Running::start(&mut program(&["-u", &redis.server.url(), "--lease", "60s"]));
    group.wait_for_consumers(3);
    redis.order("CONFIG SET maxclients 1");
    redis.order("CLIENT KILL TYPE pubsub");
    let why = "ERR max number of clients reached";
    // The broken connection and the refusal are causes of different kinds.
    group.wait_for(&format!("cannot subscribe to messages:published: {why}; retrying"));
    redis.order("CONFIG SET maxclients 1000");
    group.wait_for(&format!("reconnecting failed: {why}"));
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert!(end.stdout.contains("1 gap of "), "{}", end.stdout);

    // The same with a server without memory.
    let mut group = Running::start(&mut program(&["-u", &redis.server.url()]));
    group.wait_for_consumers(3);
    let refuses_subscriptions = redis.fill();
    redis.order("CLIENT KILL TYPE pubsub");
    if refuses_subscriptions {
        group.wait_for("cannot subscribe to messages:published: OOM");
        redis.order("CONFIG SET maxmemory 0");
        group.wait_for("reconnecting failed: OOM");
    } else {
        group.wait_for("gap of ");
    }
    group.signal(Signal::TERM);
    assert_eq!(group.end().await.code, 0);
}

#[tokio::test]
async fn facts_are_fields_in_the_json_log_and_only_in_the_message_of_the_text_log() {
    let mut redis = Redis::start().await;
    for format in ["json", "text"] {
        let mut group = Running::start(&mut program(&["-u", &redis.server.url(), "--log-format", format]));
        group.wait_for_consumers(3);
        redis.order("CLIENT KILL TYPE pubsub");
        group.wait_for("gap of ");
        group.signal(Signal::TERM);
        let end = group.end().await;
        assert_eq!(end.code, 0, "{}", end.stderr);
        if format == "text" {
            assert_eq!(lines(&end.stderr, "event="), 0, "{}", end.stderr);
            assert_eq!(lines(&end.stderr, "in messages:published: the server closed the connection; "), 1);
            assert_eq!(
                lines(&end.stderr, "messages:published"),
                3,
                "start, outage and its end: {}",
                end.stderr
            );
            continue;
        }
        let log = end.stderr.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let over = log.into_iter().find(|line| line["event"] == "outage_over").unwrap();
        assert_eq!((&over["channel"], &over["level"]), (&"messages:published".into(), &"WARN".into()));
        assert!(over["gap_seconds"].is_number() && over["cause"].is_string(), "{over}");
        assert_eq!((&over["gaps"], &over["dropped"]), (&1.into(), &0.into()));
        assert!(over["message"].as_str().unwrap().contains("; gap of "), "{over}");
    }
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_is_not_an_outage() {
    for source in ["pubsub", "stream"] {
        let mut redis = Redis::start().await;
        let url = redis.server.url();
        let mut group = Running::start(&mut program(&[
            "-u", &url, "--source", source, "--log", "debug", "--lease", "12s",
        ]));
        group.wait_for_consumers(3);
        redis.order("CONFIG SET timeout 1");
        // In this time two renewals of the lease are due, and every connection that can be idle has been idle.
        for _ in 0..10 {
            sleep(Duration::from_millis(900)).await;
            redis.order("PING");
        }
        match source {
            "stream" => redis.order("XADD messages:published * a 1"),
            _ => redis.order("PUBLISH messages:published {\"a\":1}"),
        }
        group.signal(Signal::TERM);
        let end = group.end().await;
        assert_eq!(end.code, 0, "{}", end.stderr);
        assert!(end.stdout.contains("received 1 = processed 1 "), "{source}: {}", end.stdout);
        assert_eq!(lines(&end.stderr, " WARN "), 0, "{source}: {}", end.stderr);
    }
}
