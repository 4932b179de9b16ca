//! `rejected replay`: which messages it takes, and where they end.

use std::collections::HashSet;

use crate::fixture::{OUTPUT, REJECTED, ledger, values};
use crate::support::redis::Redis;

#[tokio::test]
async fn a_replayed_message_leaves_the_stream_for_the_output_and_nothing_else_is_left_behind() {
    let mut redis = Redis::start().await;
    redis.reject("{\"message_id\":\"a\"}", "gave up");
    let of_stream = ["XADD", REJECTED, "*", "message_id", "b", "error", "its own", "error", "gave up"];
    let by_group = ["consumer_id", "c", "source", "messages:published", "source_id", "5-1"];
    redis.ask::<String>(&[&of_stream[..], &by_group].concat());
    let end = redis.rejected(&["replay", "--with-source-id"]);
    assert_eq!(ledger(&end), "received 2 = processed 2 + rejected 0 + dropped 0; no gaps");
    let output = redis.entries(OUTPUT);
    assert_eq!(
        values(&output, "message_id").into_iter().collect::<HashSet<_>>(),
        ["a", "b"].map(String::from).into()
    );
    assert_eq!(
        (values(&output, "error"), values(&output, "source_id")),
        (vec!["its own".into()], vec!["5-1".into()])
    );
    assert_eq!(redis.keys(), HashSet::from([OUTPUT.to_owned()]));
}

#[tokio::test]
async fn a_message_that_is_rejected_again_returns_once_with_all_its_attempts() {
    let mut redis = Redis::start().await;
    let old = redis.reject("no json", "the shop is closed");
    let end = redis.rejected(&["replay"]);
    assert_eq!(ledger(&end), "received 1 = processed 0 + rejected 1 + dropped 0; no gaps");
    let entries = redis.entries(REJECTED);
    let [(id, fields)] = &entries[..] else { panic!("{entries:?}") };
    assert_ne!(*id, old);
    assert_eq!((fields["payload"].as_str(), fields["attempts"].as_str()), ("no json", "6"));
    assert!(fields["error"].starts_with("the payload is not JSON"), "{fields:?}");
    assert_eq!(fields["source"], "messages:published");
    assert_eq!(fields.len(), 5, "{fields:?}");
    assert_eq!(redis.keys(), HashSet::from([REJECTED.to_owned()]));
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
}

#[tokio::test]
async fn only_messages_that_the_filters_select_are_replayed_and_the_rest_is_untouched() {
    let mut redis = Redis::start().await;
    let payload = |n| format!("{{\"n\":\"{n}\"}}");
    let ids: Vec<_> =
        (0..6).map(|n| redis.reject(&payload(n), if n % 2 == 0 { "even (x)" } else { "odd" })).collect();
    let before = redis.entries(REJECTED);
    redis.rejected(&["replay", "--id", &ids[2], "--id", &ids[3], "--id", "7-7"]);
    assert_eq!(
        values(&redis.entries(OUTPUT), "n").into_iter().collect::<HashSet<_>>(),
        ["2", "3"].map(String::from).into()
    );
    redis.rejected(&["replay", "--reason", "(x)", "--count", "1"]);
    assert_eq!(values(&redis.entries(OUTPUT), "n").last().unwrap(), "0");
    let end = redis.rejected(&["replay", "--reason", "even"]);
    assert_eq!(ledger(&end), "received 1 = processed 1 + rejected 0 + dropped 0; no gaps");
    assert!(end.stderr.contains("2 entries not selected; left in messages:rejected"), "{}", end.stderr);
    assert_eq!(redis.entries(REJECTED), [before[1].clone(), before[5].clone()]);
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
}

#[tokio::test]
async fn an_incomplete_message_and_a_foreign_entry_stay_and_are_reported() {
    let mut redis = Redis::start().await;
    let cut = ["XADD", REJECTED, "*", "payload", "{", "payload_bytes", "900"];
    redis.ask::<String>(&[&cut[..], &["error", "too long", "consumer_id", "c", "source", "s"]].concat());
    redis.ask::<String>(&["XADD", REJECTED, "*", "payload", "{}"]);
    let end = redis.rejected(&["replay"]);
    assert_eq!(ledger(&end), "received 0 = processed 0 + rejected 0 + dropped 0; no gaps");
    let left = "1 entry not replayed, but left in messages:rejected: ";
    assert!(end.stderr.contains(&format!("{left}the payload was longer than max-payload")), "{}", end.stderr);
    assert!(end.stderr.contains(&format!("{left}not written by a group")), "{}", end.stderr);
    assert_eq!(redis.length(REJECTED), 2);

    let end = redis.rejected(&["replay", "--id", "5-0"]);
    assert!(end.stderr.contains("there was no message to replay"), "{}", end.stderr);
}
