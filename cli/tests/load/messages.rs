//! What `load` publishes, and at which rate.

use std::collections::HashSet;

use serde_json::Value;

use crate::fixture::{end, entries, number, server, subscribe};
use crate::process::{Program, texts};

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
