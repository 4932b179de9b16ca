//! `run` against a server.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::Commands;
use redis_private_server::PrivateServer;
use rustix::process::Signal;
use support::redis::Redis;
use support::{Running, TIMEOUT, file, program, run};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

impl Redis {
    fn publish(&mut self, messages: usize) {
        let mut pipeline = redis::pipe();
        for n in 0..messages {
            pipeline.publish("messages:published", format!(r#"{{"message_id":"{n}"}}"#)).ignore();
        }
        pipeline.query::<()>(&mut self.connection).unwrap();
    }

    fn appended(&mut self) -> usize {
        self.ask(&["XLEN", "messages:processed"])
    }

    /// Makes the server refuse appends for a temporary reason, which the group waits out.
    fn refuse_appends(&mut self) {
        self.ask::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    }
}

#[tokio::test]
async fn run_without_options_processes_messages_and_ends_with_the_ledger() {
    let mut redis = Redis::start().await;
    let addr = redis.server.addr();
    let mut group = Running::start(&mut program(&["--redis-addr", &addr, "--consumers", "4"]));
    group.wait_for(&format!("reading messages:published at redis://{addr}, appending to messages:processed"));
    group.wait_for_consumers(4);
    let ids: Vec<String> = redis.connection.lrange("consumer:ids", 0, -1).unwrap();
    assert_eq!(ids.len(), 4);
    redis.publish(100);
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let last = end.stdout.lines().last().unwrap();
    assert_eq!(last, "received 100 = processed 100 + rejected 0 + dropped 0; no gaps");
    for id in &ids {
        assert!(end.stderr.contains(&format!("consumer {id} started")), "{id} in {}", end.stderr);
    }
    assert_eq!(redis.appended(), 100);
    let left: usize = redis.connection.llen("consumer:ids").unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn reports_come_on_time_and_none_after_the_ledger() {
    let mut redis = Redis::start().await;
    let url = redis.server.url();
    let mut group = Running::start(&mut program(&["-u", &url, "--report-every", "250ms"]));
    group.wait_for_consumers(3);
    redis.publish(10);
    let (start, mut lines) = (Instant::now(), Vec::new());
    while start.elapsed() < Duration::from_millis(900) {
        lines.push(group.line());
    }
    assert!((3..=5).contains(&lines.len()), "{lines:?}");
    let ten = "Processed 10 messages in the last second. 10 in ";
    assert!(lines.iter().any(|line| line.starts_with(ten)), "{lines:?}");
    group.signal(Signal::INT);
    let end = group.end().await;
    assert_eq!(end.code, 0);
    assert!(
        end.stdout.lines().last().unwrap().starts_with("received 10 = processed 10 + "),
        "{}",
        end.stdout
    );
}

#[tokio::test]
async fn with_json_each_line_on_stdout_is_an_object() {
    let mut redis = Redis::start().await;
    let url = redis.server.url();
    let args = ["-u", &url, "--json", "--report-every", "100ms", "--max-messages", "5"];
    let mut group = Running::start(&mut program(&args));
    group.wait_for_consumers(3);
    let report: serde_json::Value = serde_json::from_str(&group.line()).unwrap();
    assert_eq!((&report["type"], &report["received"]), (&"report".into(), &0.into()));
    redis.publish(5);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let ledger: serde_json::Value = serde_json::from_str(end.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&ledger["type"], &ledger["processed"]), (&"ledger".into(), &5.into()));
}

#[tokio::test]
async fn a_flag_beats_a_variable_and_a_variable_beats_the_file() {
    let redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let text =
        format!("url = '{}'\nconsumers = 1\ninput = 'file:in'\noutput = 'file:out'\n", redis.server.url());
    let config = file(folder.path(), "group.toml", &text);
    let mut command = program(&["--config", &config, "--consumers", "2"]);
    let mut group = Running::start(
        command.env("RCG_CONSUMERS", "5").env("RCG_INPUT", "variable:in").env("RCG_CONSUMER", "9"),
    );
    group.wait_for_consumers(2);
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.stderr.matches(" started").count(), 2, "{}", end.stderr);
    assert!(end.stderr.contains("reading variable:in at "), "{}", end.stderr);
    assert!(end.stderr.contains("appending to file:out"), "{}", end.stderr);
    let warning = "RCG_CONSUMER: unknown variable, ignored; did you mean RCG_CONSUMERS?";
    assert!(end.stderr.contains(warning), "{}", end.stderr);
}

#[tokio::test]
async fn many_consumers_do_not_get_a_log_line_each() {
    let redis = Redis::start().await;
    let mut group = Running::start(&mut program(&["-u", &redis.server.url(), "--consumers", "100"]));
    group.wait_for("and 97 more consumers, 100 in all; their ids are in consumer:ids");
    group.signal(Signal::TERM);
    assert_eq!(group.end().await.stderr.matches(" started").count(), 3);
}

#[tokio::test]
async fn at_the_level_debug_each_of_many_consumers_gets_a_log_line() {
    let redis = Redis::start().await;
    let args = ["-u", &redis.server.url(), "--consumers", "100", "--log", "debug"];
    let mut group = Running::start(&mut program(&args));
    group.wait_for_consumers(100);
    group.signal(Signal::TERM);
    assert_eq!(group.end().await.code, 0);
}

#[tokio::test]
async fn quiet_leaves_warnings_on_stderr_and_everything_on_stdout() {
    let mut redis = Redis::start().await;
    let mut group =
        Running::start(&mut program(&["-u", &redis.server.url(), "--quiet", "--report-every", "100ms"]));
    let line = group.line();
    assert!(line.starts_with("Processed 0 messages in the last second. 0 in "), "{line}");
    assert!(line.ends_with(" s, 0 rejected, 0 dropped, buffer 0 %"), "{line}");
    redis::cmd("PUBLISH").arg("messages:published").arg("not JSON").exec(&mut redis.connection).unwrap();
    group.wait_for("rejected 1 message");
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let log: Vec<_> = end.stderr.lines().collect();
    assert!(matches!(log[..], [line] if line.contains(" WARN rejected 1 message, ")), "{log:?}");
}

#[tokio::test]
async fn a_service_whose_stdout_is_closed_says_so_and_goes_on() {
    let mut redis = Redis::start().await;
    let url = redis.server.url();
    let mut command = program(&["-u", &url, "--report-every", "50ms"]);
    let mut group = Running::start(command.stdin(Stdio::null()));
    group.wait_for_consumers(3);
    redis.publish(1000);
    assert!(group.line().starts_with("Processed "));
    group.close_stdout();
    group.wait_for("WARN stdout was closed; continuing without reports");
    redis.publish(1000);
    let until = Instant::now() + TIMEOUT;
    while redis.appended() < 2000 {
        assert!(Instant::now() < until, "it does not go on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert!(!end.stderr.contains("panicked") && !end.stderr.contains("ERROR"), "{}", end.stderr);
    assert!(
        end.stderr.contains("received 2000 = processed 2000 + "),
        "the ledger is in the log: {}",
        end.stderr
    );
}

#[tokio::test]
async fn a_pipeline_that_closes_stdout_ends_the_group_and_loses_no_message() {
    let mut redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let (program, url) = (program(&[]), redis.server.url());
    // `script` gives the program a terminal, as an interactive shell does.
    let line = format!(
        "{} -u {url} --report-every 50ms 2>{} | head -1",
        program.get_program().display(),
        log.display()
    );
    let mut group = Command::new("script");
    let mut group = group.args(["-qec", &line, "/dev/null"]).stdout(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + TIMEOUT;
    while fs::read_to_string(&log).unwrap_or_default().matches(" started").count() < 3 {
        assert!(Instant::now() < until, "it does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    redis.publish(1000);
    let end = spawn_blocking(move || group.wait().unwrap()).await.unwrap();
    let log = fs::read_to_string(log).unwrap();
    assert!(end.success(), "{log}");
    assert!(log.contains("stdout was closed: finishing what was received"), "{log}");
    assert!(log.contains("received 1000 = processed 1000 + "), "{log}");
    assert_eq!(redis.appended(), 1000);
}

#[tokio::test]
async fn during_an_outage_each_report_says_since_when_and_why() {
    let mut redis = Redis::start().await;
    let url = redis.server.url();
    let mut text = Running::start(&mut program(&["-u", &url, "--report-every", "50ms"]));
    let mut json = Running::start(&mut program(&["-u", &url, "--report-every", "50ms", "--json"]));
    text.wait_for_consumers(3);
    json.wait_for_consumers(3);
    let parsed = |line: String| serde_json::from_str::<serde_json::Value>(&line).unwrap();
    let report = parsed(json.line());
    assert_eq!((&report["connected"], &report["gaps"]), (&true.into(), &0.into()), "{report}");
    redis.server.kill().unwrap();
    let line = loop {
        let line = text.line();
        if line.contains("disconnected") {
            break line;
        }
    };
    assert!(line.contains("buffer 0 %; disconnected for 0.") && line.contains(" s ("), "{line}");
    let report = loop {
        let report = parsed(json.line());
        // The first reports of the outage may show a shorter gap.
        if report["gap_seconds"].as_f64().unwrap() > 0.2 {
            break report;
        }
    };
    assert_eq!((&report["connected"], &report["gaps"]), (&false.into(), &1.into()), "{report}");
    assert_eq!(
        (&report["state"], &report["outage"]["problem"]),
        (&"disconnected".into(), &"disconnected".into())
    );
    assert!(report["disconnected_seconds"].as_f64().unwrap() > 0.2, "{report}");
    assert!(report["outage"]["cause"].as_str().unwrap().contains("refused"), "{report}");
    assert_eq!(report["gap_seconds"], report["open_gap_seconds"], "{report}");
    for group in [text, json] {
        group.signal(Signal::TERM);
        let end = group.end().await;
        assert_eq!(end.code, 0, "{}", end.stderr);
    }
}

#[tokio::test]
async fn sighup_reads_the_log_level_again_and_does_not_end_the_group() {
    let redis = Redis::start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = file(folder.path(), "group.toml", "log = 'info'\n");
    let mut group = Running::start(&mut program(&["-u", &redis.server.url(), "--config", &config]));
    group.wait_for_consumers(3);
    file(folder.path(), "group.toml", "log = 'warn'\nconsumers = 5\n");
    group.signal(Signal::HUP);
    group.wait_for("SIGHUP: the log level is now warn");
    group.wait_for("SIGHUP: other options have changed; they take effect at the next start");
    file(folder.path(), "group.toml", "log = 'loud'\n");
    group.signal(Signal::HUP);
    group.wait_for("SIGHUP: the configuration was not read again: ");
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert!(!end.stderr.contains("SIGTERM"), "{}", end.stderr);
}

#[tokio::test]
async fn a_second_signal_abandons_messages_that_cannot_be_committed() {
    let mut redis = Redis::start().await;
    let url = redis.server.url();
    let args = ["-u", &url, "--drain-timeout", "1h", "--json", "--report-every", "50ms"];
    let mut group = Running::start(&mut program(&args));
    group.wait_for_consumers(3);
    redis.refuse_appends();
    redis.publish(7);
    while !group.line().contains(r#""received":7"#) {}
    group.signal(Signal::TERM);
    group.wait_for("SIGTERM: finishing what was received");
    group.signal(Signal::INT);
    let end = group.end().await;
    assert_eq!(end.code, 1, "{}", end.stderr);
    let ledger: serde_json::Value = serde_json::from_str(end.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&ledger["type"], &ledger["abandoned"]), (&"ledger".into(), &7.into()), "{ledger}");
    assert!(end.stderr.contains("7 received messages were abandoned"), "{}", end.stderr);
}

#[tokio::test]
async fn a_stop_takes_at_most_the_drain_timeout() {
    let mut redis = Redis::start().await;
    let mut group = Running::start(&mut program(&["-u", &redis.server.url(), "--drain-timeout", "300ms"]));
    group.wait_for_consumers(3);
    redis.refuse_appends();
    redis.publish(7);
    let start = Instant::now();
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 1, "{}", end.stderr);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(end.stdout.contains("abandoned 7"), "{}", end.stdout);
}

#[tokio::test]
async fn the_start_waits_five_seconds_for_a_server_that_is_down() {
    let mut server = PrivateServer::builder().start().await.unwrap();
    server.kill().unwrap();
    let start = Instant::now();
    let end = run(&mut program(&["--redis-addr", &server.addr()]));
    assert_eq!(end.code, 69, "{}", end.stderr);
    assert!((4.5..8.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
    assert!(
        end.stderr.contains(&format!("error: Redis at redis://{} is not reachable", server.addr())),
        "{}",
        end.stderr
    );
}

#[tokio::test]
async fn a_signal_during_the_start_ends_it_cleanly() {
    let mut server = PrivateServer::builder().start().await.unwrap();
    server.kill().unwrap();
    let mut group = Running::start(program(&["--redis-addr", &server.addr()]).env("RCG_NOTHING", "1"));
    // The warning about this variable comes just before the program listens for signals.
    group.wait_for("RCG_NOTHING");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    group.signal(Signal::INT);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(end.stdout, "received 0 = processed 0 + rejected 0 + dropped 0; no gaps\n");
}

#[tokio::test]
async fn a_password_is_read_from_its_file_and_a_wrong_one_is_refused() {
    let redis = Redis::of(PrivateServer::builder().password("open sesame").start().await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let addr = redis.server.addr();

    let wrong = file(folder.path(), "wrong", "hush\n");
    let end = run(&mut program(&["--redis-addr", &addr, "--password-file", &wrong]));
    assert_eq!(end.code, 77, "{}", end.stderr);
    assert!(!end.stderr.contains("hush"), "{}", end.stderr);

    let right = file(folder.path(), "right", "open sesame\n");
    let mut group = Running::start(&mut program(&["--redis-addr", &addr, "--password-file", &right]));
    group.wait_for_consumers(3);
    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert!(!end.stderr.contains("sesame"), "{}", end.stderr);
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_a_configuration_error() {
    for key in ["messages:processed", "messages:rejected", "consumer:ids"] {
        let mut redis = Redis::start().await;
        redis.ask::<()>(&["SET", key, "a string"]);
        let end = run(&mut program(&["-u", &redis.server.url()]));
        assert_eq!(end.code, 78, "{key}: {}", end.stderr);
        assert!(end.stderr.contains(key), "{key}: {}", end.stderr);
    }
}

#[tokio::test]
async fn a_revoked_permission_ends_the_group_with_its_ledger() {
    let mut redis = Redis::start().await;
    let url = redis.server.url();
    let mut group =
        Running::start(&mut program(&["-u", &url, "--log-format", "json", "--drain-timeout", "1s"]));
    group.wait_for_consumers(3);
    redis.ask::<()>(&["ACL", "SETUSER", "default", "-xadd"]);
    redis.publish(3);
    let end = group.end().await;
    assert_eq!(end.code, 77, "{}", end.stderr);
    assert!(end.stdout.lines().last().unwrap().starts_with("received 3 = "), "{}", end.stdout);
    for line in end.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    }
    assert!(end.stderr.to_lowercase().contains("xadd"), "{}", end.stderr);
}
