//! `run --source stream` against a server: what it reads and reports, and where the next process continues.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::HashSet;

use rustix::process::Signal;
use serde_json::Value;
use support::redis::Redis;
use support::{Running, Said, program, run};

const INPUT: &str = "messages:published";
const OUTPUT: &str = "messages:processed";

impl Redis {
    /// Appends this many messages with `load --to stream`.
    fn publish(&self, messages: usize) {
        let count = messages.to_string();
        let args = ["load", "--to", "stream", "--count", &count, "--url", &self.server.url()];
        let end = run(&mut program(&args));
        assert_eq!(end.code, 0, "{}", end.stderr);
    }

    /// The program on the stream, with these additional options.
    fn group(&self, options: &[&str]) -> Running {
        Running::start(program(&["run", "--source", "stream", "-u", &self.server.url()]).args(options))
    }

    fn pending(&mut self) -> u64 {
        let (pending, _, _, _): (u64, redis::Value, redis::Value, redis::Value) =
            self.ask(&["XPENDING", INPUT, "processors"]);
        pending
    }

    fn appended(&mut self) -> usize {
        self.ask(&["XLEN", OUTPUT])
    }

    /// The ids of the messages in the output.
    fn output(&mut self) -> Vec<String> {
        self.values("message_id")
    }

    /// The values of this field in the output.
    fn values(&mut self, field: &str) -> Vec<String> {
        let entries: Vec<(String, Vec<(String, String)>)> = self.ask(&["XRANGE", OUTPUT, "-", "+"]);
        let fields = entries.into_iter().flat_map(|(_, fields)| fields);
        fields.filter(|(name, _)| name == field).map(|(_, value)| value).collect()
    }
}

/// The last line on stdout. The process must have succeeded.
fn ledger(end: &Said) -> &str {
    assert_eq!(end.code, 0, "{}", end.stderr);
    end.stdout.lines().last().unwrap()
}

fn distinct(ids: &[String]) -> usize {
    ids.iter().collect::<HashSet<_>>().len()
}

#[tokio::test]
async fn each_entry_of_the_stream_is_in_the_output_once_and_the_ledger_says_so() {
    let mut redis = Redis::start().await;
    redis.publish(100);
    let end = redis.group(&["--max-messages", "100", "--with-source-id"]).end().await;
    assert_eq!(ledger(&end), "received 100 = processed 100 + rejected 0 + dropped 0; no gaps");
    assert_eq!(distinct(&redis.output()), 100);
    let entries: Vec<(String, redis::Value)> = redis.ask(&["XRANGE", INPUT, "-", "+"]);
    let entries: HashSet<_> = entries.into_iter().map(|(id, _)| id).collect();
    assert_eq!(redis.values("source_id").into_iter().collect::<HashSet<_>>(), entries);
    assert_eq!(redis.pending(), 0);
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]);
    assert_eq!(keys.iter().map(String::as_str).collect::<HashSet<_>>(), HashSet::from([INPUT, OUTPUT]));
}

#[tokio::test]
async fn entries_that_come_later_are_processed_too() {
    let mut redis = Redis::start().await;
    let mut group = redis.group(&["--max-messages", "10"]);
    group.wait_for(&format!("reading {INPUT} at "));
    group.wait_for_consumers(3);
    redis.publish(10);
    let end = group.end().await;
    assert_eq!(ledger(&end), "received 10 = processed 10 + rejected 0 + dropped 0; no gaps");
    assert_eq!(distinct(&redis.output()), 10);
}

#[tokio::test]
async fn a_second_process_continues_where_the_first_one_stopped() {
    let mut redis = Redis::start().await;
    redis.publish(100);
    let first = redis.group(&["--max-messages", "40"]).end().await;
    assert_eq!(ledger(&first), "received 40 = processed 40 + rejected 0 + dropped 0; no gaps");
    assert_eq!(redis.appended(), 40);
    let second = redis.group(&["--max-messages", "60"]).end().await;
    assert_eq!(ledger(&second), "received 60 = processed 60 + rejected 0 + dropped 0; no gaps");
    let output = redis.output();
    assert_eq!((output.len(), distinct(&output)), (100, 100));
}

#[tokio::test]
async fn a_stop_under_load_leaves_no_started_entry_pending() {
    const MESSAGES: usize = 100_000;
    let mut redis = Redis::start().await;
    redis.publish(MESSAGES);
    let mut group = redis.group(&[]);
    group.wait_for_consumers(3);
    while redis.appended() == 0 {}
    group.signal(Signal::TERM);
    let end = group.end().await;
    let appended = redis.appended();
    assert!(appended < MESSAGES, "it had no load any more");
    let expected = format!("received {appended} = processed {appended} + rejected 0 + dropped 0; no gaps");
    assert_eq!(ledger(&end), expected);
    assert_eq!(redis.pending(), 0);

    let rest = (MESSAGES - appended).to_string();
    let end = redis.group(&["--max-messages", &rest]).end().await;
    assert!(ledger(&end).starts_with(&format!("received {rest} = processed {rest} + ")), "{}", end.stdout);
    let output = redis.output();
    assert_eq!((output.len(), distinct(&output)), (MESSAGES, MESSAGES));
}

#[tokio::test]
async fn a_json_report_says_how_far_behind_the_group_is() {
    let mut redis = Redis::start().await;
    redis.ask::<()>(&["XGROUP", "CREATE", INPUT, "processors", "0", "MKSTREAM"]);
    redis.publish(3);
    // Another consumer holds one of them and never acknowledges it.
    let reader = ["XREADGROUP", "GROUP", "processors", "somebody", "COUNT", "1", "STREAMS", INPUT, ">"];
    redis.ask::<redis::Value>(&reader);
    let mut group = redis.group(&["--json", "--report-every", "50ms"]);
    let backlog = loop {
        let report: Value = serde_json::from_str(&group.line()).unwrap();
        if report["processed"] == 2 && report["backlog"]["pending"] == 1 && report["backlog"]["lag"] == 0 {
            break report["backlog"].clone();
        }
    };
    assert!(backlog["oldest_pending_seconds"].as_f64().unwrap() > 0.0, "{backlog}");
    assert_eq!(backlog["length"], 3, "{backlog}");
    group.signal(Signal::TERM);
    let end = group.end().await;
    let last: Value = serde_json::from_str(ledger(&end)).unwrap();
    assert_eq!((&last["type"], &last["processed"]), (&"ledger".into(), &2.into()));
    assert_eq!(redis.pending(), 1);
}

#[tokio::test]
async fn pending_entries_of_other_consumers_are_claimed_on_request() {
    let mut redis = Redis::start().await;
    redis.ask::<()>(&["XGROUP", "CREATE", INPUT, "processors", "0", "MKSTREAM"]);
    redis.publish(3);
    let reader = ["XREADGROUP", "GROUP", "processors", "somebody", "COUNT", "2", "STREAMS", INPUT, ">"];
    redis.ask::<redis::Value>(&reader);
    let end = redis.group(&["--max-messages", "3", "--claim-foreign-after", "1s"]).end().await;
    let last = ledger(&end);
    let expected =
        "received 3 = processed 3 + rejected 0 + dropped 0; 2 of the received were taken over; no gaps";
    assert_eq!(last, expected);
    assert_eq!((redis.appended(), redis.pending()), (3, 0));
}

#[tokio::test]
async fn a_killed_process_loses_no_message() {
    const MESSAGES: usize = 50_000;
    let mut redis = Redis::start().await;
    redis.publish(MESSAGES);
    let mut first = redis.group(&["--lease", "1s"]);
    first.wait_for_consumers(3);
    while redis.appended() == 0 {}
    drop(first);
    let mut second = redis.group(&["--lease", "1s", "--json", "--report-every", "50ms"]);
    while redis.appended() < MESSAGES || redis.pending() > 0 {
        second.line();
    }
    second.signal(Signal::TERM);
    let end = second.end().await;
    let last: Value = serde_json::from_str(ledger(&end)).unwrap();
    assert!(last["taken_over"].as_u64().unwrap() > 0, "{last}");
    let output = redis.output();
    assert_eq!((output.len(), distinct(&output)), (MESSAGES, MESSAGES));
}

#[tokio::test]
async fn acknowledged_entries_are_trimmed_on_request() {
    let mut redis = Redis::start().await;
    redis.publish(1000);
    let mut group = redis.group(&["--trim", "acknowledged", "--report-every", "50ms"]);
    while redis.ask::<usize>(&["XLEN", INPUT]) > 0 {
        group.line();
    }
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(ledger(&end), "received 1000 = processed 1000 + rejected 0 + dropped 0; no gaps");
}

#[test]
fn an_invalid_start_id_is_a_usage_error() {
    let end = run(&mut program(&["--source", "stream", "--from", "yesterday"]));
    assert_eq!(end.code, 2, "{}", end.stderr);
    assert_eq!(
        end.stderr,
        "error: --from: \"yesterday\" is not an entry id; write it like 1700000000000-0, or beginning, or new\n"
    );
}

#[tokio::test]
async fn a_group_that_starts_with_new_entries_leaves_the_earlier_ones() {
    let mut redis = Redis::start().await;
    redis.publish(5);
    let mut group = redis.group(&["--from", "new", "--max-messages", "2"]);
    group.wait_for_consumers(3);
    redis.publish(2);
    assert_eq!(ledger(&group.end().await), "received 2 = processed 2 + rejected 0 + dropped 0; no gaps");
    assert_eq!(redis.appended(), 2);
}

#[tokio::test]
async fn an_input_of_another_type_is_a_configuration_error_that_names_it() {
    let mut redis = Redis::start().await;
    redis.ask::<()>(&["SET", INPUT, "a string"]);
    let end = redis.group(&[]).end().await;
    assert_eq!(end.code, 78, "{}", end.stderr);
    let said = "the key messages:published holds a string, but the group needs a stream there; rename the key, or choose \
                another name (input)";
    assert!(end.stderr.contains(said), "{}", end.stderr);
}

#[test]
fn a_stream_needs_no_spill() {
    let said = "a stream does not need a spill: unread entries wait in it; remove overflow";
    let flags = run(&mut program(&["--source", "stream", "--overflow", "spill"]));
    assert_eq!((flags.code, flags.stderr.contains(said)), (2, true), "{}", flags.stderr);
    let variable = run(program(&["--source", "stream"]).env("RCG_OVERFLOW", "spill"));
    assert_eq!((variable.code, variable.stderr.contains(said)), (78, true), "{}", variable.stderr);
}
