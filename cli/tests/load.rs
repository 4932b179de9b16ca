//! `load` against a real server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod process;

use std::collections::HashSet;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use process::{Program, texts};
use redis_private_server::PrivateServer;
use rustix::process::Signal;
use serde_json::Value;

async fn server() -> PrivateServer {
    PrivateServer::builder().start().await.unwrap()
}

/// Reads the channel until the message `end`, on a thread. Returns the messages before it.
fn subscribe(server: &PrivateServer, channel: &'static str) -> JoinHandle<Vec<Vec<u8>>> {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let (ready, subscribed) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let mut subscription = connection.as_pubsub();
        subscription.subscribe(channel).unwrap();
        ready.send(()).unwrap();
        let mut payloads = Vec::new();
        loop {
            match subscription.get_message().unwrap().get_payload_bytes() {
                b"end" => return payloads,
                payload => payloads.push(payload.to_vec()),
            }
        }
    });
    subscribed.recv().unwrap();
    reader
}

/// Waits until this many messages were published, by the server's count of commands.
async fn published(server: &PrivateServer, messages: u64) {
    called(server, "publish", messages).await;
}

/// Waits until the server has executed this command this many times.
async fn called(server: &PrivateServer, command: &str, messages: u64) {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let before = format!("cmdstat_{command}:calls=");
    loop {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
        let calls = stats.split(&before).nth(1).and_then(|rest| rest.split(',').next());
        if calls.is_some_and(|calls| calls.parse::<u64>().unwrap() >= messages) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The fields and values of all entries of a stream.
fn entries(server: &PrivateServer, stream: &str) -> Vec<Vec<(String, String)>> {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(stream).arg("-").arg("+").query(&mut connection).unwrap();
    entries.into_iter().map(|(_, fields)| fields).collect()
}

fn end(server: &PrivateServer, channel: &str) {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd("PUBLISH").arg(channel).arg("end").exec(&mut connection).unwrap();
}

/// The number in `Published N messages in …`.
fn number(stdout: &str) -> usize {
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    stdout.strip_prefix("Published ").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
}

#[tokio::test]
async fn load_publishes_as_many_messages_as_it_reports_each_with_its_own_id() {
    let server = server().await;
    let reader = subscribe(&server, "messages:published");
    let url = server.url();
    let program = Program::start(&[
        "load", "--url", &url, "--count", "20000", "--batch", "7001", "--pause", "0ms..2ms",
    ]);
    let output = program.end().await;
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(number(&stdout), 20_000);
    assert_eq!(stderr, "", "no progress bar where there is no terminal");

    end(&server, "messages:published");
    let payloads = reader.join().unwrap();
    assert_eq!(payloads.len(), 20_000);
    let ids: HashSet<_> = payloads
        .iter()
        .map(|payload| match serde_json::from_slice(payload).unwrap() {
            Value::Object(object) if object.len() == 1 => object["message_id"].as_str().unwrap().to_owned(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(ids.len(), 20_000);
    assert!(ids.iter().all(|id| id.parse::<uuid::Uuid>().unwrap().get_version_num() == 4));
}

#[tokio::test]
async fn padded_messages_go_to_the_requested_channel() {
    let server = server().await;
    let reader = subscribe(&server, "elsewhere");
    let url = server.url();
    let program = Program::start(&[
        "load",
        "-u",
        &url,
        "--channel",
        "elsewhere",
        "--count",
        "300",
        "--payload-bytes",
        "100000",
    ]);
    assert!(program.end().await.status.success());
    end(&server, "elsewhere");
    let payloads = reader.join().unwrap();
    assert_eq!(payloads.len(), 300);
    assert!(payloads.iter().all(|payload| payload.len() == 100_000));
}

#[tokio::test]
async fn load_appends_as_many_entries_to_a_stream_as_it_reports_each_with_its_own_id() {
    let server = server().await;
    let url = server.url();
    let program = Program::start(&[
        "load", "--url", &url, "--to", "stream", "--count", "20000", "--batch", "7001", "--pause", "0ms..2ms",
    ]);
    let output = program.end().await;
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(number(&stdout), 20_000);
    assert_eq!(stderr, "");

    let entries = entries(&server, "messages:published");
    assert_eq!(entries.len(), 20_000);
    let ids: HashSet<_> = entries
        .iter()
        .map(|fields| match &fields[..] {
            [(name, object)] if name == "payload" => {
                let object: Value = serde_json::from_str(object).unwrap();
                object["message_id"].as_str().unwrap().parse::<uuid::Uuid>().unwrap()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids.len(), 20_000);
}

#[tokio::test]
async fn a_padded_entry_has_the_padded_object_as_its_payload() {
    let server = server().await;
    let url = server.url();
    let padded = ["load", "-u", &url, "--to", "stream", "--input", "elsewhere", "--count", "30"];
    let program = Program::start(&[&padded[..], &["--payload-bytes", "5000"]].concat());
    assert!(program.end().await.status.success());
    let entries = entries(&server, "elsewhere");
    assert_eq!(entries.len(), 30);
    for fields in &entries {
        let [(name, object)] = &fields[..] else { panic!("{fields:?}") };
        assert_eq!((&**name, object.len()), ("payload", 5000));
        let object: Value = serde_json::from_str(object).unwrap();
        assert!(object["message_id"].is_string() && object["padding"].is_string());
    }
}

#[tokio::test]
async fn an_even_rate_never_publishes_before_its_deadlines() {
    let server = server().await;
    let url = server.url();
    for (rate, count) in [("300", 150_u64), ("20000", 10_000)] {
        let program =
            Program::start(&["load", "-u", &url, "--rate", rate, "--count", &count.to_string(), "--json"]);
        let (stdout, _) = texts(&program.end().await);
        let summary: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(summary["published"], count);
        let last_deadline = (count - 1) as f64 / rate.parse::<f64>().unwrap();
        assert!(summary["seconds"].as_f64().unwrap() >= last_deadline, "{stdout}");
    }
}

#[tokio::test]
async fn an_even_rate_publishes_all_messages_due_in_its_duration() {
    let server = server().await;
    let url = server.url();
    let program = Program::start(&["load", "-u", &url, "--rate", "1000/s", "--duration", "500ms"]);
    let (stdout, _) = texts(&program.end().await);
    // Fewer messages are published if the machine stalls for longer than the extra time at the end.
    assert!((1..=500).contains(&number(&stdout)), "{stdout}");
}

#[tokio::test]
async fn after_ctrl_c_load_prints_how_many_messages_the_server_confirmed() {
    for pace in [["--rate", "2000"], ["--batch", "5000"]] {
        let server = server().await;
        let reader = subscribe(&server, "messages:published");
        let url = server.url();
        let program = Program::start(&[&["load", "-u", &url][..], &pace].concat());
        published(&server, 500).await;
        program.signal(Signal::INT);
        let output = program.end().await;
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{stderr}");
        end(&server, "messages:published");
        assert_eq!(reader.join().unwrap().len(), number(&stdout));
    }
}

#[tokio::test]
async fn after_ctrl_c_the_stream_has_the_confirmed_messages() {
    for pace in [["--rate", "2000"], ["--batch", "5000"]] {
        let server = server().await;
        let url = server.url();
        let program = Program::start(&[&["load", "-u", &url, "--to", "stream"][..], &pace].concat());
        called(&server, "xadd", 500).await;
        program.signal(Signal::INT);
        let output = program.end().await;
        let (stdout, stderr) = texts(&output);
        assert!(output.status.success(), "{stderr}");
        assert_eq!(entries(&server, "messages:published").len(), number(&stdout));
    }
}

#[tokio::test]
async fn a_load_stopped_before_it_connects_says_that_nothing_was_published() {
    let mut server = server().await;
    let url = server.url();
    server.kill().unwrap();
    let mut program = Program::start_with(&["load", "-u", &url], |command| {
        command.env("RCG_NOTHING", "1");
    });
    // The warning about this variable comes just before the program listens for signals.
    program.hears("RCG_NOTHING").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    program.signal(Signal::INT);
    let output = program.end().await;
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stdout, "Published 0 messages in 0.00 s (0 per second).\n");
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_a_server_that_is_frozen() {
    let server = server().await;
    let url = server.url();
    let program = Program::start(&["load", "-u", &url, "--rate", "2000"]);
    published(&server, 100).await;
    server.freeze().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    program.signal(Signal::INT);
    program.signal(Signal::TERM);
    let output = program.end().await;
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(number(&stdout) >= 100);
    assert!(stderr.contains("more were sent, and the server did not answer"), "{stderr}");
}

#[tokio::test]
async fn load_needs_only_the_permission_to_publish_to_the_channel() {
    let server = PrivateServer::builder()
        .acl_user("loader on >hush resetchannels &messages:published -@all +publish")
        .start()
        .await
        .unwrap();
    let url = format!("redis://loader:hush@{}", server.addr());
    let allowed = Program::start(&["load", "-u", &url, "--count", "10"]).end().await;
    assert_eq!(number(&texts(&allowed).0), 10);

    let refused = Program::start(&["load", "-u", &url, "--count", "10", "--input", "elsewhere"]).end().await;
    let (stdout, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(77));
    assert_eq!(number(&stdout), 0);
    assert!(stderr.contains("NOPERM") && stderr.contains("+publish &elsewhere"), "{stderr}");

    let url = format!("redis://loader:wrong@{}", server.addr());
    let refused = Program::start(&["load", "-u", &url, "--count", "10"]).end().await;
    let (_, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(77), "{stderr}");
    assert!(!stderr.contains("wrong@"), "{stderr}");
}

#[tokio::test]
async fn load_needs_only_the_permission_to_append_to_the_stream() {
    let server = PrivateServer::builder()
        .acl_user("loader on >hush resetchannels ~messages:published -@all +xadd")
        .start()
        .await
        .unwrap();
    let url = format!("redis://loader:hush@{}", server.addr());
    let publish = ["load", "-u", &url, "--to", "stream", "--count", "10"];
    let allowed = Program::start(&publish).end().await;
    assert_eq!(number(&texts(&allowed).0), 10);

    let refused = Program::start(&[&publish[..], &["--input", "elsewhere"]].concat()).end().await;
    let (stdout, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(77));
    assert_eq!(number(&stdout), 0);
    assert!(stderr.contains("NOPERM") && stderr.contains("+xadd ~elsewhere"), "{stderr}");
}

#[tokio::test]
async fn a_key_that_is_not_a_stream_is_a_configuration_error() {
    let server = server().await;
    let url = server.url();
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd("RPUSH").arg("messages:published").arg("mine").exec(&mut connection).unwrap();
    let publish = ["load", "-u", &url, "--count", "10"];
    let refused = Program::start(&[&publish[..], &["--to", "stream"]].concat()).end().await;
    let (stdout, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(78), "{stderr}");
    assert_eq!(number(&stdout), 0);
    assert!(stderr.contains("the key messages:published holds a value of another type"), "{stderr}");
    assert!(stderr.contains("rename the key, or choose another name (channel)"), "{stderr}");

    let allowed = Program::start(&publish).end().await;
    assert_eq!(number(&texts(&allowed).0), 10, "a channel is no key");
}

#[tokio::test]
async fn a_server_that_refuses_writes_ends_an_append_and_the_error_says_what_to_do() {
    let primary = server().await;
    let full = PrivateServer::builder().arg("maxmemory", "1").start().await.unwrap();
    let replica = PrivateServer::builder().arg("replicaof", format!("127.0.0.1 {}", primary.port()));
    let replica = replica.start().await.unwrap();
    for (server, code, hint) in
        [(full, "OOM", "raise its maxmemory"), (replica, "READONLY", "give the address of its primary")]
    {
        let url = server.url();
        let publish = ["load", "-u", &url, "--count", "10", "--to", "stream"];
        let output = Program::start(&publish).end().await;
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(number(&stdout), 0);
        assert!(stderr.contains("did not append to messages:published"), "{stderr}");
        assert!(stderr.contains(code) && stderr.contains(hint), "{stderr}");
    }
}

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

#[test]
fn bad_input_is_a_usage_error_that_says_what_to_write() {
    for (arguments, hint) in [
        (&["--rate", "0"][..], "above 0"),
        (&["--batch", "0"], "0 is not in 1.."),
        (&["--pause", "500ms..100ms"], "write it like 100ms..500ms"),
        (&["--rate", "5", "--batch", "5"], "cannot be used with"),
        (&["--to", "list"], "possible values: channel, stream"),
    ] {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_redis-consumer-group"));
        let output = command.arg("load").args(arguments).output().unwrap();
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
    }
}
