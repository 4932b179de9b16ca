//! What an operator reads: the whole log and the whole output of `run`, in five stories. After a change:
//! `INSTA_UPDATE=always cargo test -p redis-consumer-group-cli --test stories`, and once more with `-- --ignored`.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod stable;
mod support;

use std::time::Duration;

use regex::Regex;
use rustix::process::Signal;
use stable::{apart, json_lines, lines, long_durations};
use support::redis::Redis;
use support::{Running, Said, TIMEOUT, program};
use tokio::time::{Instant, sleep};

const INPUT: &str = "messages:published";
const OUTPUT: &str = "messages:processed";

impl Redis {
    fn group(&self, options: &[&str]) -> Running {
        let mut program = program(&["-u", &self.server.url()]);
        let mut group = Running::start(program.env("RCG_REPORT_EVERY", "500ms").args(options));
        group.wait_for_consumers(3);
        group
    }

    fn order(&mut self, words: &[&str]) {
        redis::cmd(words[0]).arg(&words[1..]).exec(&mut self.connection).unwrap();
    }

    fn publish(&mut self, payload: &str) {
        self.order(&["PUBLISH", INPUT, payload]);
    }

    /// Appends entries until the process holds some of them, and kills it. How many were appended in all.
    async fn kill_while_it_holds_entries(&mut self, process: Running) -> usize {
        const ENTRIES: usize = 5_000;
        let until = Instant::now() + TIMEOUT;
        let mut appended = 0;
        loop {
            let mut pipeline = redis::pipe();
            for _ in 0..ENTRIES {
                pipeline.cmd("XADD").arg(INPUT).arg("*").arg("payload").arg(r#"{"message_id":"1"}"#).ignore();
            }
            pipeline.query::<()>(&mut self.connection).unwrap();
            appended += ENTRIES;
            process.signal(Signal::STOP);
            // What it has sent is done.
            sleep(Duration::from_millis(100)).await;
            let mut pending = redis::cmd("XPENDING");
            pending.arg(INPUT).arg("processors");
            let (pending, ..): (usize, redis::Value, redis::Value, redis::Value) =
                pending.query(&mut self.connection).unwrap();
            if pending > 0 {
                return appended;
            }
            process.signal(Signal::CONT);
            assert!(Instant::now() < until, "it never holds entries");
        }
    }

    async fn wait_for_output(&mut self, records: usize) {
        let until = Instant::now() + TIMEOUT;
        while redis::cmd("XLEN").arg(OUTPUT).query::<usize>(&mut self.connection).unwrap() < records {
            assert!(Instant::now() < until, "the output has no {records} records");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Waits for the next report with this text, on stdout. What was read is in the last argument.
fn report(group: &mut Running, text: &str, read: &mut String) {
    loop {
        let line = group.line();
        *read += &format!("{line}\n");
        if line.contains(text) {
            return;
        }
    }
}

/// Waits for a line of the log with this text, unless it was there before.
fn reach(group: &mut Running, text: &str) {
    if !group.log.contains(text) {
        group.wait_for(text);
    }
}

/// Stops the group, which ends well. Its whole stdout, with what was read of it before.
async fn stop(group: Running, read: String) -> Said {
    group.signal(Signal::TERM);
    let mut said = group.end().await;
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert_eq!(long_durations(&said.stderr), Vec::<&str>::new(), "{}", said.stderr);
    said.stdout = read + &said.stdout;
    said
}

/// The text with these patterns replaced.
fn without(text: &str, patterns: &[(&str, &str)]) -> String {
    patterns.iter().fold(text.to_owned(), |text, (pattern, by)| {
        Regex::new(pattern).unwrap().replace_all(&text, *by).into_owned()
    })
}

/// Both, as a text.
fn story(said: &Said, at_any_time: &[&str]) -> String {
    // The cause of a disconnection is one of several, and the first of them changes.
    let cause = Regex::new(r"(disconnected for <seconds>) \(.*\)$").unwrap();
    let stdout: Vec<_> =
        lines(&said.stdout).iter().map(|line| cause.replace(line, "$1 (<cause>)").into_owned()).collect();
    let stdout = lines(&stdout.join("\n"));
    format!("{}\n=== stdout\n{}", apart(lines(&said.stderr), at_any_time), stdout.join("\n"))
}

/// The server is gone for at least this long. The consumers' ids are told of at their own time.
async fn outage(lasts: Duration, options: &[&str]) -> Said {
    let mut redis = Redis::start().await;
    // With a short lease, its renewal fails too.
    let options = [&["--lease", "3s"], options].concat();
    let (mut group, mut read) = (redis.group(&options), String::new());
    redis.publish(r#"{"message_id":"1"}"#);
    redis.wait_for_output(1).await;
    report(&mut group, "", &mut read);
    redis.server.kill().unwrap();
    let killed = Instant::now();
    report(&mut group, "cannot subscribe to messages:published: ", &mut read);
    sleep(lasts.saturating_sub(killed.elapsed())).await;
    redis.restart().await;
    reach(&mut group, "connected again after ");
    reach(&mut group, "ids of this process were missing");
    redis.publish(r#"{"message_id":"2"}"#);
    redis.wait_for_output(1).await;
    stop(group, read).await
}

const IDS: &[&str] = &["ids of this process"];

#[tokio::test]
async fn a_start_and_a_stop() {
    let mut redis = Redis::start().await;
    let (mut group, mut read) = (redis.group(&[]), String::new());
    report(&mut group, "", &mut read);
    redis.publish(r#"{"message_id":"1"}"#);
    redis.publish("not JSON");
    report(&mut group, ", 1 rejected", &mut read);
    redis.wait_for_output(1).await;
    insta::assert_snapshot!(story(&stop(group, read).await, &[]));
}

#[tokio::test]
async fn an_outage_of_five_seconds() {
    let said = outage(Duration::from_secs(5), &[]).await;
    insta::assert_snapshot!(story(&said, IDS));
}

#[tokio::test]
async fn an_outage_in_the_json_log() {
    let said = outage(Duration::from_secs(5), &["--log-format", "json"]).await;
    insta::assert_snapshot!(apart(json_lines(&said.stderr), IDS));
}

#[tokio::test]
async fn a_server_without_memory_for_a_while() {
    let mut redis = Redis::start().await;
    // Its lease would need memory too.
    let (mut group, mut read) = (redis.group(&["--lease", "60s"]), String::new());
    report(&mut group, "", &mut read);
    redis.order(&["CONFIG", "SET", "maxmemory", "1"]);
    redis.publish(r#"{"message_id":"1"}"#);
    group.wait_for("cannot append");
    report(&mut group, "; cannot append to messages:processed for ", &mut read);
    redis.order(&["CONFIG", "SET", "maxmemory", "0"]);
    redis.wait_for_output(1).await;
    group.wait_for("appending to messages:processed again");
    insta::assert_snapshot!(story(&stop(group, read).await, &[]));
}

#[tokio::test]
async fn messages_that_are_dropped() {
    let mut redis = Redis::start().await;
    let options = ["--lease", "60s", "--buffer", "64KiB", "--max-payload", "8KiB", "--report-every", "1h"];
    let mut group = redis.group(&options);
    redis.order(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let large = format!(r#"{{"message_id":"{}"}}"#, "1".repeat(4000));
    redis.publish(&large);
    group.wait_for("cannot append to messages:processed");
    for _ in 0..3 {
        // Much more than the buffer and all commits hold.
        for _ in 0..200 {
            redis.publish(&large);
        }
        group.wait_for("dropped ");
    }
    for _ in 0..5 {
        redis.publish(&large);
    }
    // After these the last ones have been read too.
    redis.order(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    group.wait_for("appending to messages:processed again");
    redis.publish(r#"{"message_id":"1"}"#);
    let said = stop(group, String::new()).await;

    let told = Regex::new(r"dropped (\d+) messages? of").unwrap();
    let sum: u64 = told.captures_iter(&said.stderr).map(|found| found[1].parse::<u64>().unwrap()).sum();
    let ledger = said.stdout.lines().last().unwrap();
    assert!(ledger.starts_with("received 607 = ") && sum > 400, "{}", said.stderr);
    assert!(ledger.contains(&format!(" + dropped {sum};")), "{ledger} in {}", said.stderr);
    // How many find room depends on how they arrive.
    let counts = [
        (r"dropped \d+ messages?", "dropped <n> messages"),
        (r"\d+ messages? dropped", "<n> messages dropped"),
        (r"(dropped|processed) \d+", "$1 <n>"),
    ];
    let [stderr, stdout] = [said.stderr, said.stdout].map(|text| without(&text, &counts));
    insta::assert_snapshot!(story(&Said { code: 0, stdout, stderr }, &[]));
}

#[tokio::test]
async fn a_takeover_from_a_process_that_was_killed() {
    let mut redis = Redis::start().await;
    let stream = ["--source", "stream", "--lease", "3s"];
    let first = redis.group(&stream);
    let entries = redis.kill_while_it_holds_entries(first).await;
    let mut second = redis.group(&stream);
    for text in ["took over ", "; taking over its entries", "; removed its 3 ids"] {
        reach(&mut second, text);
    }
    redis.wait_for_output(entries).await;
    let said = stop(second, String::new()).await;
    // How many it held depends on the moment of its death.
    let counts = [
        (r"\b\d+ (entry|entries|of the received were)\b", "<n> $1"),
        (r"(received|processed) \d+", "$1 <n>"),
    ];
    let [stderr, stdout] = [said.stderr, said.stdout].map(|text| without(&text, &counts));
    insta::assert_snapshot!(story(&Said { code: 0, stdout, stderr }, &["has died"]));
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "takes 40 seconds: scripts/test --long"]
    async fn an_outage_of_35_seconds_has_reminders() {
        let said = outage(Duration::from_secs(35), &[]).await;
        insta::assert_snapshot!(apart(lines(&said.stderr), IDS));
        let reminders = said.stderr.lines().filter(|line| line.contains("; still retrying after 3"));
        assert_eq!(reminders.count(), 1, "{}", said.stderr);
    }
}
