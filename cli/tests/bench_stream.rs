//! `bench` of a stream and of a spill, on real servers. The tests check that results are plausible, never how fast they
//! are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod benching;
mod support;

use std::fs;
use std::time::Duration;

use benching::{Bench, assert_has_memory, count, has_key, json, keys};
use redis_private_server::PrivateServer;
use rustix::process::Signal;
use support::redis::{ask, server};
use tokio::time::sleep;

const STREAM: &str = "--source stream --messages 2000 --runs 1 --consumers 1,2";
const SPILL: &str = "--overflow spill --messages 20000 --consumers 16 --buffer 64KiB";

#[tokio::test]
async fn a_whole_backlog_is_moved_by_a_group_and_by_a_bare_connection_and_nothing_is_left() {
    let server = server().await;
    let options = format!("{STREAM} --rates 500 --latency-time 300ms --json");
    let (stdout, stderr) = Bench::on(&server, &options).succeeds().await;
    let report = json(&stdout);
    assert_eq!(report["parameters"]["source"], "stream");
    for section in ["server_limit", "engine_limit", "burst", "spill"] {
        assert!(report[section].as_array().unwrap().is_empty(), "{section}: {report}");
    }
    let bare = &report["bare"][0];
    assert_eq!(count(bare, "messages"), 2000);
    let throughput = report["throughput"].as_array().unwrap();
    assert_eq!(throughput.len(), 2);
    for run in throughput {
        let counts = ["received", "processed", "lost", "duplicated", "pending"];
        assert_eq!(counts.map(|name| count(&run["delivery"], name)), [2000, 2000, 0, 0, 0], "{run}");
        for figure in ["seconds", "publish_seconds", "group_cpu_us", "server_cpu_us", "load_cpu_us"] {
            assert!(run[figure].as_f64().unwrap() > 0.0, "{figure}: {run}");
        }
        assert!((0.0..=1.0).contains(&run["busy"].as_f64().unwrap()), "{run}");
        assert_has_memory(run);
    }
    for figure in ["seconds", "server_cpu_us", "mover_cpu_us"] {
        assert!(bare[figure].as_f64().unwrap() > 0.0, "{figure}: {bare}");
    }
    let latency = &report["latency"][0];
    assert_eq!((count(latency, "messages"), count(&latency["delivery"], "processed")), (150, 150));
    for line in ["bare, run 1 of 1: ", "throughput 2 consumers, run 1 of 1: ", "latency at 500/s: "] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
    assert_eq!(keys(&server), [""; 0]);
}

#[tokio::test]
async fn the_output_for_a_stream_names_the_stream_and_what_it_is_compared_with() {
    let (stdout, _) = Bench::start(&format!("{STREAM} --only throughput")).succeeds().await;
    for text in ["2,000 messages of 53 bytes in a stream", "Bare: one connection", "Throughput of a backlog"]
    {
        assert!(stdout.contains(text), "{text}: {stdout}");
    }
}

#[tokio::test]
async fn the_padding_of_a_message_is_a_field_of_its_entry() {
    let options = format!("{STREAM} --only throughput --payload-bytes 1024 --json");
    let (stdout, _) = Bench::start(&options).succeeds().await;
    assert_eq!(count(&json(&stdout)["throughput"][0]["delivery"], "processed"), 2000);
}

#[tokio::test]
async fn a_run_of_a_stream_is_compared_with_an_earlier_run_of_a_stream_and_not_of_a_channel() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("earlier.json");
    let path = file.to_str().unwrap();
    let options = format!("{STREAM} --only throughput");
    Bench::start(&format!("{options} --json={path}")).succeeds().await;

    let mut earlier = json(&fs::read_to_string(&file).unwrap());
    for run in earlier["throughput"].as_array_mut().unwrap() {
        run["seconds"] = 1e-6.into();
    }
    fs::write(&file, earlier.to_string()).unwrap();
    let against = format!("--baseline {path}");
    let (code, _, stderr) = Bench::start(&format!("{options} {against}")).end().await;
    assert_eq!(code, 99, "{stderr}");
    assert!(stderr.contains("the share of the bare move"), "{stderr}");

    let channel = format!("--messages 2000 --runs 1 --consumers 1 --only throughput {against}");
    let (code, _, stderr) = Bench::start(&channel).end().await;
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("Nothing was compared"), "{stderr}");
}

#[tokio::test]
async fn an_idle_group_of_a_stream_is_measured_too() {
    let options = "--source stream --only idle --idle-consumers 20 --idle-time 300ms --json";
    let server = server().await;
    let (stdout, _) = Bench::on(&server, options).succeeds().await;
    assert_eq!(count(&json(&stdout)["idle"][0], "consumers"), 20);
    assert_eq!(keys(&server), [""; 0]);
}

#[tokio::test]
async fn a_burst_ends_when_everything_that_was_spilled_is_in_the_output() {
    let server = server().await;
    let (stdout, stderr) = Bench::on(&server, &format!("{SPILL} --json")).succeeds().await;
    let report = json(&stdout);
    assert_eq!(report["parameters"]["work_us"], 1000);
    assert_eq!(report["parameters"]["buffer"], 64 << 10);
    let spill = &report["spill"][0];
    let delivery = &spill["delivery"];
    let (spilled, most) = (count(delivery, "spilled"), count(delivery, "most_in_spill"));
    assert!(spilled > 0 && spilled == count(delivery, "read_back"), "{spill}");
    assert!((1..=20_000).contains(&most), "{spill}");
    let counts = ["received", "processed", "dropped", "abandoned", "lost", "duplicated", "pending"];
    let delivery = counts.map(|name| count(delivery, name));
    assert_eq!(delivery, [20_000, 20_000, 0, 0, 0, 0, 0], "{spill}");
    assert_has_memory(spill);
    assert!(stderr.contains("burst with a spill, 16 consumers: "), "{stderr}");
    assert_eq!(keys(&server), [""; 0]);
}

#[tokio::test]
async fn a_signal_while_a_stream_is_moved_or_spilled_leaves_nothing_behind() {
    let stream = "--source stream --messages 50000 --runs 100 --consumers 2 --work 1ms";
    let spill = "--overflow spill --messages 1000000 --buffer 64KiB";
    for (options, begun) in [(stream, "{bench:published}:leases"), (spill, "{bench:processed}:spill")] {
        let server = server().await;
        let bench = Bench::on(&server, options);
        has_key(&server, begun).await;
        sleep(Duration::from_millis(300)).await;
        bench.interrupt(Signal::INT).await;
        assert_eq!(keys(&server), [""; 0], "{options}");
    }
}

#[tokio::test]
async fn an_existing_stream_is_not_touched() {
    for key in ["bench:published", "{bench:processed}:spill"] {
        let server = server().await;
        ask::<String>(&server, &format!("XADD {key} * field value"));
        Bench::on(&server, STREAM).fails(78, &[key, "(a stream)"]).await;
        assert_eq!(ask::<u64>(&server, &format!("XLEN {key}")), 1);
    }
}

#[tokio::test]
async fn a_user_who_may_not_create_a_group_is_told_what_to_grant() {
    let rules = "alice on >wonder ~* &* +@all -xgroup";
    let server = PrivateServer::builder().acl_user(rules).start().await.unwrap();
    let url = format!("redis://alice:wonder@{}", server.addr());
    let options = format!("{STREAM} --yes --url {url}");
    let (code, _, stderr) = Bench::start(&options).end().await;
    assert_eq!(code, 77, "{stderr}");
    assert!(stderr.contains("+xgroup") && !stderr.contains("wonder"), "{stderr}");
    assert_eq!(keys(&server), [""; 0]);
}

#[tokio::test]
async fn options_that_do_not_fit_a_stream_are_a_usage_error() {
    for (options, said) in [
        ("--source stream --overflow spill", "needs no spill"),
        ("--source stream --only burst", "use --source pubsub"),
        ("--overflow spill --only latency", "only a burst"),
    ] {
        Bench::start(options).fails(2, &[said]).await;
    }
}
