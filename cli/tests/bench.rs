//! `bench` on real servers. The tests check that results are plausible, never how fast they are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod benching;
mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use benching::{Bench, assert_has_memory, count, has_key, has_no_processes, json, keys, processes};
use redis_private_server::PrivateServer;
use rustix::process::Signal;
use support::redis::{ask, server};
use support::{program, run};
use tokio::time::{sleep, timeout};

const SMALL: &str = "--messages 2000 --runs 1 --consumers 1,2 --rates 500";
const LONG: &str = "--messages 60000 --runs 100 --consumers 2";

#[tokio::test]
async fn a_whole_bench_on_a_private_server_finds_every_message_and_leaves_nothing() {
    let bench = Bench::start(&format!("{SMALL} --latency-time 300ms --json"));
    let (stdout, stderr) = bench.succeeds().await;
    let report = json(&stdout);
    assert_eq!(report["server"]["private"], true);
    assert_eq!(report["server_limit"].as_array().unwrap().len(), 1);
    let throughput = report["throughput"].as_array().unwrap();
    assert_eq!(throughput.iter().map(|row| row["consumers"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for run in throughput.iter().chain([&report["burst"][0]]) {
        assert_eq!(run["messages"], 2000);
        assert_eq!(run["delivery"]["processed"], 2000);
        assert!(run["seconds"].as_f64().unwrap() >= run["publish_seconds"].as_f64().unwrap() / 2.0, "{run}");
        assert!((1..=2000).contains(&run["commits"].as_u64().unwrap()), "{run}");
        for figure in ["seconds", "group_cpu_us", "server_cpu_us", "load_cpu_us"] {
            assert!(run[figure].as_f64().unwrap() > 0.0, "{figure}: {run}");
        }
        assert!((0.0..=1.0).contains(&run["busy"].as_f64().unwrap()), "{run}");
        assert!(run["peak_memory"].as_u64().is_none_or(|bytes| bytes > 1 << 20), "{run}");
    }
    let latency = &report["latency"][0];
    assert_eq!((&latency["messages"], &latency["delivery"]["processed"]), (&150.into(), &150.into()));
    // A machine that stalls for a second does not reach the rate, and the report then says so.
    if let Some(reached) = latency["outcome"].get("reached") {
        let recorded = reached["latency"]["classes"].as_array().unwrap();
        assert_eq!(recorded.iter().map(|class| class[1].as_u64().unwrap()).sum::<u64>(), 150);
        assert!(reached["latency"]["p50"].as_f64().unwrap() >= reached["late"]["p50"].as_f64().unwrap());
    }
    for line in ["throughput 2 consumers, run 1 of 1: ", "latency at 500/s: ", "burst 2 consumers: "] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
}

#[tokio::test]
async fn an_idle_group_is_observed_for_the_requested_time() {
    let options = "--only idle --idle-consumers 20 --idle-time 300ms --json";
    let (stdout, stderr) = Bench::start(options).succeeds().await;
    let report = json(&stdout);
    assert!(report["throughput"].as_array().unwrap().is_empty(), "{report}");
    let idle = &report["idle"][0];
    assert_eq!(idle["consumers"], 20);
    assert!(idle["seconds"].as_f64().unwrap() >= 0.3, "{idle}");
    assert!(idle["cpu_seconds"].is_f64(), "{idle}");
    assert_has_memory(idle);
    assert!(stderr.contains("idle 20 consumers: "), "{stderr}");
}

#[tokio::test]
async fn a_group_that_is_stuck_drops_what_its_buffer_does_not_hold_and_its_ledger_adds_up() {
    let server = server().await;
    let options = "--only stuck --messages 20000 --buffer 1MiB --consumers 2 --json";
    let (stdout, stderr) = Bench::on(&server, options).succeeds().await;
    let report = json(&stdout);
    assert_eq!(report["parameters"]["buffer"], 1 << 20);
    let stuck = &report["stuck"][0];
    let count = |name| count(stuck, name);
    let counts = ["messages", "received", "processed", "rejected", "gaps", "undelivered"].map(count);
    assert_eq!(counts, [20_000, 20_000, 0, 0, 0, 0], "{stuck}");
    assert!(count("dropped") > 0 && count("abandoned") > 0, "{stuck}");
    assert_eq!(count("dropped") + count("abandoned"), 20_000, "{stuck}");
    assert_has_memory(stuck);
    assert!(stderr.contains("stuck 2 consumers: 20,000 received"), "{stderr}");
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_stuck_group_that_is_disconnected_fails_and_reports_what_it_missed() {
    let server = server().await;
    let options = "--only stuck --messages 1000000 --buffer 1MiB --consumers 2 --json";
    let bench = Bench::on(&server, options);
    let published = || {
        let stats: redis::InfoDict = ask(&server, "INFO stats");
        stats.get::<u64>("total_commands_processed").unwrap()
    };
    let at_full_speed = async {
        while published() < 5000 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), at_full_speed).await.expect("messages");
    assert_eq!(ask::<u64>(&server, "CLIENT KILL TYPE pubsub"), 1);
    let (code, stdout, stderr) = bench.end().await;
    assert_eq!(code, 1, "{stderr}");
    let stuck = &json(&stdout)["stuck"][0];
    let count = |name| count(stuck, name);
    assert!(count("gaps") > 0 && stuck["cause"].is_string(), "{stuck}");
    assert!(count("received") < 1_000_000, "{stuck}");
    assert_eq!(count("dropped") + count("abandoned"), count("received"), "{stuck}");
    assert!(stderr.contains("never reached the group: the group's connection broke"), "{stderr}");
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_signal_while_a_group_idles_or_is_stuck_leaves_nothing_behind() {
    for section in ["idle", "stuck"] {
        let server = server().await;
        let bench = Bench::on(&server, &format!("--only {section} --messages 100000000 --idle-time 1m"));
        has_key(&server, "").await;
        sleep(Duration::from_millis(300)).await;
        bench.interrupt(Signal::INT).await;
        assert_eq!(keys(&server), [""; 0], "{section}");
    }
}

#[tokio::test]
async fn a_given_server_keeps_its_own_keys_and_its_password_is_never_shown() {
    let password = format!("hush{}", std::process::id());
    let server = PrivateServer::builder().password(&password).start().await.unwrap();
    ask::<()>(&server, "SET bench:mine 1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, &password).unwrap();
    let (address, file) = (server.addr(), file.to_str().unwrap());
    let server_options = format!("--yes --redis-addr {address} --password-file {file}");
    let mut bench = Bench::start(&format!("{SMALL} {server_options} --latency-time 1s"));
    bench.program.wait_for("throughput 2 consumers");
    let parts = || processes("cmdline", |line| line.contains("bench-process"));
    while Path::new("/proc").exists() && parts().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    for file in ["cmdline", "environ"] {
        let shown = processes(file, |text| text.contains(&password));
        assert!(shown.is_empty(), "{shown:?}");
    }
    let (stdout, stderr) = bench.succeeds().await;
    assert!(!stdout.contains(&password) && !stderr.contains(&password), "{stdout}{stderr}");
    assert_eq!(keys(&server), ["bench:mine"]);
}

#[tokio::test]
async fn a_server_with_data_under_one_of_the_keys_is_not_touched() {
    for (command, key, said) in [
        ("XADD bench:processed * field value", "bench:processed", "(a stream)"),
        ("SET bench:rejected precious", "bench:rejected", "(a string)"),
        ("RPUSH bench:ids a b", "bench:ids", "(a list)"),
    ] {
        let server = server().await;
        ask::<redis::Value>(&server, command);
        let dump: Vec<u8> = ask(&server, &format!("DUMP {key}"));
        Bench::on(&server, SMALL).fails(78, &[&format!("the key {key} "), said]).await;
        assert_eq!(keys(&server), [key]);
        assert_eq!(ask::<Vec<u8>>(&server, &format!("DUMP {key}")), dump);
    }
}

#[tokio::test]
async fn a_server_is_measured_over_its_unix_socket_too() {
    let server = PrivateServer::builder().password("h u/sh").start().await.unwrap();
    let options = format!("{SMALL} --yes --only burst,throughput --url {}", server.unix_url());
    Bench::start(&options).succeeds().await;
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_replica_is_refused() {
    let primary = server().await;
    let replica = PrivateServer::builder().arg("replicaof", format!("127.0.0.1 {}", primary.port()));
    let replica = replica.start().await.unwrap();
    Bench::on(&replica, SMALL).fails(78, &["read-only replica", "primary"]).await;
    assert!(keys(&primary).is_empty());
}

#[tokio::test]
async fn a_server_without_room_is_refused_before_anything_is_written() {
    let server = PrivateServer::builder().arg("maxmemory", "20mb").start().await.unwrap();
    let refusal = "use fewer --messages, or raise maxmemory";
    Bench::on(&server, "--messages 1000000").fails(78, &[refusal]).await;
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_second_bench_on_one_server_is_refused() {
    let server = server().await;
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut subscription = connection.as_pubsub();
    subscription.subscribe("bench:published").unwrap();
    Bench::on(&server, SMALL).fails(78, &["wait for the other bench to end"]).await;
}

#[tokio::test]
async fn a_given_server_is_not_used_without_permission() {
    let server = server().await;
    Bench::start(&format!("{SMALL} --url {}", server.url())).fails(2, &["--yes"]).await;
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_is_reported_with_its_own_exit_code() {
    let bench = Bench::start("--yes --redis-addr 127.0.0.1:1");
    bench.fails(69, &["redis://127.0.0.1:1 is not reachable"]).await;
}

#[tokio::test]
async fn a_user_who_may_not_publish_is_told_what_to_grant() {
    let rules = "alice on >wonder ~* &* +@all -publish";
    let server = PrivateServer::builder().acl_user(rules).start().await.unwrap();
    let url = format!("redis://alice:wonder@{}", server.addr());
    let (code, _, stderr) = Bench::start(&format!("{SMALL} --yes --url {url}")).end().await;
    assert_eq!(code, 77, "{stderr}");
    assert!(stderr.contains("+publish") && !stderr.contains("wonder"), "{stderr}");
    assert!(keys(&server).is_empty());
}

#[tokio::test]
async fn a_signal_during_a_bench_leaves_nothing_behind() {
    for (signal, after) in [(Signal::INT, "the server alone"), (Signal::TERM, "throughput 2 consumers")] {
        let server = server().await;
        let mut bench = Bench::on(&server, LONG);
        bench.program.wait_for(after);
        sleep(Duration::from_millis(400)).await;
        bench.interrupt(signal).await;
        assert_eq!(keys(&server), [""; 0]);
    }
}

#[tokio::test]
async fn the_processes_of_a_killed_bench_end_with_it() {
    let mut bench = Bench::start(LONG);
    bench.program.wait_for("throughput 2 consumers");
    bench.program.signal(Signal::KILL);
    has_no_processes(bench.folder.path()).await;
}

#[tokio::test]
async fn a_run_that_loses_messages_fails_and_says_why() {
    // One message takes 20 ms, so the buffer is full long before the end.
    let options = "--messages 2000 --runs 1 --consumers 10 --work 20ms --buffer 64KiB --json";
    let (code, stdout, stderr) = Bench::start(options).end().await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("raise --buffer"), "{stderr}");
    let delivery = &json(&stdout)["throughput"][0]["delivery"];
    assert!(delivery["lost"].as_u64().unwrap() > 0, "{delivery}");
    assert_eq!(delivery["lost"], delivery["dropped"], "{delivery}");
}

#[tokio::test]
async fn a_rate_that_is_not_reached_has_no_latency() {
    let options = "--work 20ms --only latency --consumers 1 --rates 1000 --latency-time 200ms --json";
    let (stdout, stderr) = Bench::start(options).succeeds().await;
    let outcome = &json(&stdout)["latency"][0]["outcome"];
    assert!(outcome["missed"]["reason"].as_str().unwrap().contains("behind"), "{outcome}");
    assert!(stderr.contains("latency at 1,000/s: not reached"), "{stderr}");
}

#[tokio::test]
async fn throughput_below_the_baseline_has_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("earlier.json");
    let options = format!("{SMALL} --only throughput");
    let (stdout, _) = Bench::start(&format!("{options} --json={}", file.display())).succeeds().await;
    assert!(!stdout.is_empty(), "the table is printed beside the file");

    let mut earlier = json(&fs::read_to_string(&file).unwrap());
    for run in earlier["throughput"].as_array_mut().unwrap() {
        run["seconds"] = 1e-6.into();
    }
    fs::write(&file, earlier.to_string()).unwrap();
    let (code, _, stderr) = Bench::start(&format!("{options} --baseline {}", file.display())).end().await;
    assert_eq!(code, 99, "{stderr}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_or_written_is_reported_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (nowhere, wrong) = (folder.path().join("no/file"), folder.path().join("wrong.json"));
    fs::write(&wrong, "{}").unwrap();
    let (nowhere, wrong) = (nowhere.to_str().unwrap(), wrong.to_str().unwrap());
    for (options, code, said) in [
        ("--json --csv", 2, "both go to stdout"),
        ("--json=/no/one --plot=/no/one", 2, "both go to /no/one"),
        (&format!("--plot {nowhere}"), 78, "--plot: cannot write "),
        (&format!("--baseline {nowhere}"), 78, "--baseline: cannot read "),
        (&format!("--baseline {wrong}"), 78, "is not a report of this version"),
        ("--payload-bytes 100000 --buffer 64KiB", 2, "do not fit into"),
    ] {
        Bench::start(options).fails(code, &[said]).await;
    }
}

#[tokio::test]
async fn a_child_process_without_a_task_says_what_to_start_instead() {
    let said = run(&mut program(&["bench-process"]));
    assert_eq!(said.code, 1);
    assert!(said.stdout.contains("start `bench` instead"), "{}", said.stdout);
}
