//! `publish` against a real server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};

use redis_private_server::PrivateServer;
use rustix::process::Signal;
use support::cluster::{calls, eventually};
use support::redis::{ask, server};
use support::{Running, Said, TIMEOUT, file, program, published, published_so_far, run};

/// The payloads in a stream, in order.
fn payloads(server: &PrivateServer, stream: &str) -> Vec<Vec<u8>> {
    type Fields = Vec<(String, Vec<u8>)>;
    let entries: Vec<(String, Fields)> = ask(server, &format!("XRANGE {stream} - +"));
    let payload = |mut fields: Fields| {
        assert_eq!((fields.len(), &*fields[0].0), (1, "payload"));
        fields.remove(0).1
    };
    entries.into_iter().map(|(_, fields)| payload(fields)).collect()
}

fn to_stream(server: &PrivateServer, args: &[&str]) -> Command {
    let mut command = program(&["publish", "--to", "stream"]);
    command.env("RCG_URL", server.url()).args(args);
    command
}

/// The program with an open stdin.
fn with_stdin(command: &mut Command) -> (Running, ChildStdin) {
    let mut running = Running::start(command.stdin(Stdio::piped()));
    let stdin = running.take_stdin();
    (running, stdin)
}

/// Runs the program with this input on stdin.
async fn fed(command: &mut Command, input: &[u8]) -> Said {
    let (running, mut stdin) = with_stdin(command);
    // A program that ends before it has read all input reports why.
    let _ = stdin.write_all(input);
    drop(stdin);
    running.end().await
}

#[tokio::test]
async fn the_arguments_are_published_in_order() {
    let server = server().await;
    let end = run(&mut to_stream(&server, &[r#"{"a":1}"#, "", "two words", "--", "-3"]));
    assert_eq!(published(&end), 4);
    assert_eq!(end.stderr, "");
    assert_eq!(payloads(&server, "messages:published"), [&br#"{"a":1}"#[..], b"", b"two words", b"-3"]);
}

#[tokio::test]
async fn each_line_of_a_file_or_of_stdin_is_a_message_byte_for_byte() {
    let server = server().await;
    let text = b"first\n\nwindows\r\n\xff\xfe\0\nno line feed";
    let lines = [&b"first"[..], b"", b"windows\r", b"\xff\xfe\0", b"no line feed"];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lines");
    std::fs::write(&path, text).unwrap();
    for args in [&["--file", path.to_str().unwrap()][..], &[], &["--file", "-"]] {
        let end = fed(&mut to_stream(&server, args), text).await;
        assert_eq!(published(&end), 5, "{args:?}");
        assert_eq!(end.stderr, "", "no hint where stdin is not a terminal");
        assert_eq!(payloads(&server, "messages:published"), lines, "{args:?}");
        ask::<()>(&server, "DEL messages:published");
    }
}

#[tokio::test]
async fn a_line_is_published_when_it_arrives_and_not_at_the_end_of_the_input() {
    let server = server().await;
    let (running, mut stdin) = with_stdin(&mut to_stream(&server, &[]));
    for lines in 1..=3 {
        stdin.write_all(b"line\n").unwrap();
        eventually("the line is there", TIMEOUT, || calls(&server, "xadd") == lines).await;
    }
    running.signal(Signal::TERM);
    // Its stdin is still open.
    assert_eq!(published(&running.end().await), 3);
}

#[tokio::test]
async fn many_lines_and_large_lines_arrive_in_order() {
    let server = server().await;
    let mut lines: Vec<Vec<u8>> = (0..100_000).map(|n| n.to_string().into_bytes()).collect();
    for at in [10, 50_000, 99_990] {
        lines[at] = vec![b'x'; 5_000_000];
    }
    let end = fed(&mut to_stream(&server, &[]), &lines.join(&b'\n')).await;
    assert_eq!(published(&end), 100_000);
    assert!(payloads(&server, "messages:published") == lines, "the same lines in the same order");
}

#[tokio::test]
async fn a_broken_connection_loses_no_message_and_the_summary_says_how_many_may_be_duplicated() {
    let mut server = PrivateServer::builder().appendonly_always().start().await.unwrap();
    let (mut running, mut stdin) = with_stdin(&mut to_stream(&server, &["--json"]));
    let feeding = std::thread::spawn(move || {
        // Slow enough that input is left when the server goes down.
        let (_keep_open, pause) = std::sync::mpsc::channel::<()>();
        for n in 0..200_000 {
            writeln!(stdin, "{n}").unwrap();
            if n % 100 == 0 {
                let _ = pause.recv_timeout(std::time::Duration::from_millis(1));
            }
        }
    });
    for appended in [5_000, 60_000] {
        eventually("entries are there", TIMEOUT, || {
            let length: u64 = ask(&server, "XLEN messages:published");
            length > appended
        })
        .await;
        server.kill().unwrap();
        if appended == 5_000 {
            running.wait_for("warning: cannot publish: ");
            tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        }
        server.restart().await.unwrap();
        if appended == 5_000 {
            running.wait_for("publishing again after ");
        }
    }
    let end = running.end().await;
    feeding.join().unwrap();
    assert_eq!(end.code, 0, "{}", end.stderr);
    let summary: serde_json::Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!((&summary["published"], &summary["unconfirmed"]), (&200_000.into(), &0.into()), "{summary}");
    let numbers: Vec<u64> = payloads(&server, "messages:published")
        .iter()
        .map(|payload| std::str::from_utf8(payload).unwrap().parse().unwrap())
        .collect();
    let twice = numbers.len() as u64 - 200_000;
    assert!(twice <= summary["repeated"].as_u64().unwrap(), "{twice} twice, but {summary}");
    let mut last = None;
    for number in &numbers {
        assert!(*number <= last.map_or(0, |last| last + 1), "{number} after {last:?}");
        last = last.max(Some(*number));
    }
    assert_eq!(last, Some(199_999));
}

#[tokio::test]
async fn a_connection_closed_while_idle_repeats_no_message() {
    let server = server().await;
    let (running, mut stdin) = with_stdin(&mut to_stream(&server, &["--json"]));
    for lines in 1..=3 {
        stdin.write_all(b"line\n").unwrap();
        eventually("the line is there", TIMEOUT, || calls(&server, "xadd") == lines).await;
        ask::<()>(&server, "CLIENT KILL TYPE normal SKIPME yes");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    drop(stdin);
    let end = running.end().await;
    let summary: serde_json::Value = serde_json::from_str(&end.stdout).unwrap();
    assert_eq!((&summary["published"], &summary["repeated"]), (&3.into(), &0.into()), "{summary}");
    assert_eq!((end.code, &*end.stderr), (0, ""));
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_a_frozen_server() {
    let server = server().await;
    let (running, mut stdin) = with_stdin(&mut to_stream(&server, &[]));
    stdin.write_all(b"one\n").unwrap();
    eventually("the line is there", TIMEOUT, || calls(&server, "xadd") == 1).await;
    server.freeze().unwrap();
    stdin.write_all(b"two\n").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    let end = running.end().await;
    assert_eq!((end.code, published_so_far(&end)), (1, 1), "{}", end.stderr);
    assert!(end.stdout.contains(", 1 unconfirmed."), "{}", end.stdout);
    assert!(end.stderr.contains("they may or may not have been published"), "{}", end.stderr);
}

#[tokio::test]
async fn messages_with_equal_members_go_to_one_shard_and_a_missing_member_is_an_error() {
    let server = server().await;
    let shards = ["--shards", "4", "--shard-by", "user"];
    let lines: String = (0..100).map(|n| format!("{{\"user\":\"u{}\",\"n\":{n}}}\n", n % 5)).collect();
    let end = fed(&mut to_stream(&server, &shards), lines.as_bytes()).await;
    assert_eq!(published(&end), 100);
    let mut entries = 0;
    for shard in 0..4 {
        let payloads = payloads(&server, &format!("messages:published:{shard}"));
        assert_eq!(payloads.len() % 20, 0, "a user's messages are together");
        entries += payloads.len();
    }
    assert_eq!(entries, 100);

    let end = fed(&mut to_stream(&server, &shards), b"{\"user\":1}\n{\"name\":2}\n{\"user\":3}\n").await;
    assert_eq!((end.code, published_so_far(&end)), (1, 1), "{}", end.stderr);
    assert!(end.stderr.contains(r#"message 2 is not a JSON object with a member "user""#), "{}", end.stderr);
}

#[tokio::test]
async fn a_subscriber_gets_the_given_message_and_messages_without_a_subscriber_are_counted() {
    let server = server().await;
    let url = server.url();
    let mut connection = redis::Client::open(&*url).unwrap().get_connection().unwrap();
    let mut subscription = connection.as_pubsub();
    subscription.subscribe("news").unwrap();
    let end = run(&mut program(&["publish", "-u", &url, "--channel", "news", "hello"]));
    assert_eq!((published(&end), &*end.stderr), (1, ""));
    assert_eq!(subscription.get_message().unwrap().get_payload::<String>().unwrap(), "hello");
    let end = run(&mut program(&["publish", "-u", &url, "hello"]));
    assert!(end.stderr.contains("1 of them reached no subscriber"), "{}", end.stderr);
}

#[tokio::test]
async fn a_refusal_is_an_error_that_says_what_to_grant_and_no_message_counts_as_published() {
    let rules = "speaker on >hush resetchannels &messages:published -@all +publish";
    let server = PrivateServer::builder().acl_user(rules).start().await.unwrap();
    let url = format!("redis://speaker:hush@{}", server.addr());
    let end = run(&mut program(&["publish", "-u", &url, "a", "b"]));
    assert_eq!(published(&end), 2);
    let end = run(&mut program(&["publish", "-u", &url, "--channel", "other", "a", "b"]));
    assert_eq!((end.code, published_so_far(&end)), (77, 0), "{}", end.stderr);
    assert!(end.stdout.contains(", 2 not published."), "{}", end.stdout);
    assert!(end.stderr.contains("+publish &other") && !end.stderr.contains("hush"), "{}", end.stderr);
}

#[test]
fn an_unreadable_file_and_wrong_options_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let end = run(&mut program(&["publish", "--file", none.to_str().unwrap()]));
    assert_eq!(end.code, 78, "{}", end.stderr);
    assert!(end.stderr.contains("cannot read") && end.stderr.contains("none"), "{}", end.stderr);
    let some = file(folder.path(), "some", "line\n");
    for (args, said) in [
        (&["--file", &some, "message"][..], "cannot be used with"),
        (&["--count", "5"], "unexpected argument '--count'"),
        (&["--rate", "5"], "unexpected argument '--rate'"),
    ] {
        let end = run(program(&["publish"]).args(args));
        assert_eq!(end.code, 2, "{args:?}");
        assert!(end.stderr.contains(said), "{}", end.stderr);
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_an_error_after_five_seconds() {
    let mut server = server().await;
    let url = server.url();
    server.kill().unwrap();
    let end = run(&mut program(&["publish", "-u", &url, "hello"]));
    assert_eq!(end.code, 69, "{}", end.stderr);
    assert!(end.stderr.contains("is not reachable"), "{}", end.stderr);
}

mod long {
    use super::*;

    #[tokio::test]
    #[ignore = "takes half a minute; scripts/test --long runs it"]
    async fn a_connection_without_a_reply_is_given_up_and_its_messages_are_sent_again() {
        let server = server().await;
        let (mut running, mut stdin) = with_stdin(&mut to_stream(&server, &["--json"]));
        stdin.write_all(b"one\n").unwrap();
        eventually("the line is there", TIMEOUT, || calls(&server, "xadd") == 1).await;
        server.freeze().unwrap();
        stdin.write_all(b"two\n").unwrap();
        running.wait_for("warning: cannot publish: no answer for 15 s; retrying");
        server.thaw().unwrap();
        drop(stdin);
        let end = running.end().await;
        let summary: serde_json::Value = serde_json::from_str(&end.stdout).unwrap();
        assert_eq!((&summary["published"], &summary["repeated"]), (&2.into(), &1.into()), "{summary}");
        let payloads = payloads(&server, "messages:published");
        assert_eq!(payloads, [&b"one"[..], b"two", b"two"], "the frozen server still had it");
    }
}
