//! `bench` of shards, on private clusters. The tests check that results are plausible, never how fast they are.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod benching;
mod support;

use std::time::Duration;

use benching::{Bench, assert_has_memory, count, json, marked};
use rustix::process::Signal;
use serde_json::Value;
use support::redis::server;
use tokio::time::{sleep, timeout};

const SHARDED: &str = "--source sharded --messages 3000 --runs 1 --nodes 1,3 --shards 2";

#[tokio::test]
async fn every_message_is_in_the_output_of_its_shard_however_many_nodes_there_are() {
    let (stdout, stderr) = Bench::start(&format!("{SHARDED} --json")).succeeds().await;
    let report = json(&stdout);
    assert_eq!(report["parameters"]["source"], "sharded");
    assert_eq!(report["server_limit"].as_array().unwrap().len(), 1);
    assert!(report["throughput"].as_array().unwrap().is_empty(), "{report}");
    let scaling = report["scaling"].as_array().unwrap();
    let size = |run: &Value| [count(&run["cluster"], "nodes"), count(&run["cluster"], "shards")];
    assert_eq!(scaling.iter().map(size).collect::<Vec<_>>(), [[1, 2], [3, 6]]);
    for run in scaling {
        let counts = ["received", "processed", "dropped", "gaps", "lost", "duplicated"];
        assert_eq!(counts.map(|name| count(&run["delivery"], name)), [3000, 3000, 0, 0, 0, 0], "{run}");
        for figure in ["seconds", "publish_seconds", "group_cpu_us", "server_cpu_us", "load_cpu_us"] {
            assert!(run[figure].as_f64().unwrap() > 0.0, "{figure}: {run}");
        }
        let thread = run["thread_cpu_us"].as_f64().unwrap();
        assert!((0.0..run["group_cpu_us"].as_f64().unwrap()).contains(&thread), "{run}");
        assert!((1..=3000).contains(&count(run, "commits")), "{run}");
        let busy = run["cluster"]["busy"].as_array().unwrap();
        assert_eq!(busy.len() as u64, count(&run["cluster"], "nodes"));
        assert!(busy.iter().all(|busy| (0.0..=1.0).contains(&busy.as_f64().unwrap())), "{run}");
        assert_has_memory(run);
    }
    for line in ["scaling 1 node, run 1 of 1: ", "scaling 3 nodes, run 1 of 1: "] {
        assert!(stderr.contains(line), "{line}: {stderr}");
    }
}

#[tokio::test]
async fn at_a_rate_every_node_gets_that_rate_and_the_output_says_so() {
    let options = format!("{SHARDED} --rate 5000 --consumers 2");
    let (stdout, _) = Bench::start(&options).succeeds().await;
    for text in
        ["in shards of 2 consumers each", "5,000 messages/s for each node", "CPU of a message, of all nodes"]
    {
        assert!(stdout.contains(text), "{text}: {stdout}");
    }
}

#[tokio::test]
async fn a_signal_ends_the_nodes_of_a_cluster_too() {
    let bench = Bench::start("--source sharded --messages 1000 --nodes 3 --rate 100");
    let folder = bench.folder.path().to_owned();
    let all_at_work = async {
        // The bench, a server, three nodes, a group and three loads.
        while marked(&folder).iter().filter(|process| process.contains("bench-process")).count() < 4 {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), all_at_work).await.expect("the group and three loads");
    bench.interrupt(Signal::INT).await;
}

#[tokio::test]
async fn a_given_server_is_refused_because_shards_need_private_clusters() {
    let server = server().await;
    let refusal = ["clusters of its own", "leave out --url"];
    Bench::on(&server, "--source sharded").fails(2, &refusal).await;
}

#[tokio::test]
async fn options_that_do_not_fit_shards_are_a_usage_error() {
    for (options, said) in [
        ("--source sharded --overflow spill", "does not measure the spill"),
        ("--source sharded --only burst", "use --source pubsub"),
        ("--source sharded --consumers 1,2", "give one number"),
        ("--source sharded --nodes 0", "from 1 to 100"),
    ] {
        Bench::start(options).fails(2, &[said]).await;
    }
}
