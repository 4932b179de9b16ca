//! How the default processor converts payloads, and rejects those that it cannot read.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use support::{Entry, Server, ids_of, judge, settled};

/// The fields of an entry as text, in order.
fn fields(entry: &Entry) -> Vec<(&str, &str)> {
    entry.fields.iter().map(|(name, value)| (name.as_str(), std::str::from_utf8(value).unwrap())).collect()
}

#[tokio::test]
async fn the_default_processor_makes_a_field_of_each_member() {
    let server = Server::start().await;
    let group = server.group().consumers(1).start().await.unwrap();
    let long = "1234567890123456789012345678901234567890";
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for payload in [
        r#"{"message_id":"67e5","text":"a\"\u00e9\n"}"#.to_owned(),
        format!(r#"{{"a":1e3,"b":{long},"c":true,"d":null,"e":[1, "2"],"f":{{"x" : "y"}}}}"#),
        r#"{"a":1,"consumer_id":"somebody","a":"2"}"#.to_owned(),
        "{}".to_owned(),
        format!(r#"{{"deep":{deep}}}"#),
    ] {
        server.publish_payload(payload).await;
    }
    settled(&group, 5).await;
    let me = ids_of(&group).remove(0);
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (5, 0));
    let entries = server.output().await;
    let me = ("consumer_id", me.as_str());
    assert_eq!(fields(&entries[0]), [("message_id", "67e5"), ("text", "a\"é\n"), me]);
    assert_eq!(
        fields(&entries[1]),
        [
            ("a", "1e3"),
            ("b", long),
            ("c", "true"),
            ("d", "null"),
            ("e", r#"[1, "2"]"#),
            ("f", r#"{"x" : "y"}"#),
            me
        ]
    );
    assert_eq!(fields(&entries[2]), [("a", "2"), me]);
    assert_eq!(fields(&entries[3]), [me]);
    assert_eq!(fields(&entries[4]), [("deep", deep.as_str()), me]);
}

#[tokio::test]
async fn a_payload_that_the_default_processor_cannot_read_is_rejected_unchanged() {
    let server = Server::start().await;
    let group = server.group().consumers(1).start().await.unwrap();
    let cases: [(&[u8], &str); 6] = [
        (b"{\"a\":", "the payload is not JSON: EOF"),
        (b"", "the payload is not JSON: EOF"),
        (b"{} {}", "the payload is not JSON: trailing characters"),
        (b"[1]", "the payload is JSON, but not an object"),
        (b"{\"a\":\"\xff\"}", "the payload is not UTF-8: invalid byte at position 6"),
        (b"{\"a\":\"\\ud800\"}", "the payload has an invalid string"),
    ];
    for (payload, _) in cases {
        server.publish_payload(payload).await;
    }
    let published = server.publish(1).await;
    settled(&group, cases.len() + 1).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (1, cases.len() as u64));
    judge(&published, &server.output().await).assert_flawless();
    let rejected = server.rejected().await;
    for (entry, (payload, reason)) in rejected.iter().zip(cases) {
        assert_eq!(entry.bytes("payload").unwrap(), payload);
        assert!(entry.text("error").unwrap().starts_with(reason), "{entry:?}");
    }
}

#[tokio::test]
async fn a_payload_that_is_too_long_is_rejected_with_its_length_and_first_4_kib() {
    let server = Server::start().await;
    let group = server.group().consumers(1).max_payload(10_000).start().await.unwrap();
    let fitting = format!(r#"{{"message_id":"{}"}}"#, "f".repeat(10_000 - 17));
    assert_eq!(fitting.len(), 10_000);
    let long: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    server.publish_payload(&fitting).await;
    server.publish_payload(&long).await;
    server.publish_payload(&long[..10_001]).await;
    let published = server.publish(10).await;
    settled(&group, 13).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (11, 2));
    judge(&published, &server.output().await[1..]).assert_flawless();
    let rejected = server.rejected().await;
    for (entry, length) in rejected.iter().zip([3 << 20, 10_001]) {
        assert_eq!(entry.bytes("payload").unwrap(), &long[..4096]);
        assert_eq!(entry.text("payload_bytes"), Some(length.to_string().as_str()));
        let reason = format!("the payload has {length} bytes, more than the 10000 allowed");
        assert_eq!(entry.text("error"), Some(reason.as_str()));
    }
    assert_eq!(rejected.len(), 2);
}
