//! What `load` publishes, and at which rate.

use std::collections::HashSet;

use serde_json::Value;

use crate::fixture::{end, entries, load, number, subscribe};
use crate::support::Said;
use crate::support::redis::server;

#[tokio::test]
async fn load_publishes_as_many_messages_as_it_reports_each_with_its_own_id() {
    let server = server().await;
    let reader = subscribe(&server, "messages:published");
    let said = load(&server.url(), "--count 20000 --batch 7001 --pause 0ms..2ms");
    assert_eq!((said.code, &*said.stderr), (0, ""), "no progress bar where there is no terminal");
    assert_eq!(number(&said), 20_000);

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
    let said = load(&server.url(), "--channel elsewhere --count 300 --payload-bytes 100000");
    assert_eq!(said.code, 0, "{}", said.stderr);
    end(&server, "elsewhere");
    let payloads = reader.join().unwrap();
    assert_eq!(payloads.len(), 300);
    assert!(payloads.iter().all(|payload| payload.len() == 100_000));
}

#[tokio::test]
async fn load_appends_as_many_entries_to_a_stream_as_it_reports_each_with_its_own_id() {
    let server = server().await;
    let said = load(&server.url(), "--to stream --count 20000 --batch 7001 --pause 0ms..2ms");
    assert_eq!((said.code, &*said.stderr), (0, ""));
    assert_eq!(number(&said), 20_000);

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
    let said = load(&server.url(), "--to stream --input elsewhere --count 30 --payload-bytes 5000");
    assert_eq!(said.code, 0, "{}", said.stderr);
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
    for (rate, count) in [("300", 150_u64), ("20000", 10_000)] {
        let Said { stdout, .. } = load(&server.url(), &format!("--rate {rate} --count {count} --json"));
        let summary: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(summary["published"], count);
        let last_deadline = (count - 1) as f64 / rate.parse::<f64>().unwrap();
        assert!(summary["seconds"].as_f64().unwrap() >= last_deadline, "{stdout}");
    }
}

#[tokio::test]
async fn an_even_rate_publishes_all_messages_due_in_its_duration() {
    let server = server().await;
    let said = load(&server.url(), "--rate 1000/s --duration 500ms");
    // Fewer messages are published if the machine stalls for longer than the extra time at the end.
    assert!((1..=500).contains(&number(&said)), "{}", said.stdout);
}
