//! The server refuses what `load` publishes, or the program refuses its arguments.

use redis_private_server::PrivateServer;

use crate::fixture::{load, number};
use crate::support::Said;
use crate::support::redis::{ask, server};

#[tokio::test]
async fn load_needs_only_the_permission_to_publish_to_the_channel() {
    let server = PrivateServer::builder()
        .acl_user("loader on >hush resetchannels &messages:published -@all +publish")
        .start()
        .await
        .unwrap();
    let url = format!("redis://loader:hush@{}", server.addr());
    let allowed = load(&url, "--count 10");
    assert_eq!(number(&allowed), 10);

    let refused = load(&url, "--count 10 --input elsewhere");
    is_refused(&refused, 77, &["NOPERM", "+publish &elsewhere"]);
    assert_eq!(number(&refused), 0);

    let url = format!("redis://loader:wrong@{}", server.addr());
    let refused = load(&url, "--count 10");
    is_refused(&refused, 77, &[]);
    assert!(!refused.stderr.contains("wrong@"), "{}", refused.stderr);
}

#[tokio::test]
async fn load_needs_only_the_permission_to_append_to_the_stream() {
    let server = PrivateServer::builder()
        .acl_user("loader on >hush resetchannels ~messages:published -@all +xadd")
        .start()
        .await
        .unwrap();
    let url = format!("redis://loader:hush@{}", server.addr());
    let allowed = load(&url, "--to stream --count 10");
    assert_eq!(number(&allowed), 10);

    let refused = load(&url, "--to stream --count 10 --input elsewhere");
    is_refused(&refused, 77, &["NOPERM", "+xadd ~elsewhere"]);
    assert_eq!(number(&refused), 0);
}

#[tokio::test]
async fn a_key_that_is_not_a_stream_is_a_configuration_error() {
    let server = server().await;
    let url = server.url();
    ask::<()>(&server, "RPUSH messages:published mine");
    let refused = load(&url, "--count 10 --to stream");
    let holds = "the key messages:published holds a value of another type";
    is_refused(&refused, 78, &[holds, "rename the key, or choose another name (channel)"]);
    assert_eq!(number(&refused), 0);

    let allowed = load(&url, "--count 10");
    assert_eq!(number(&allowed), 10, "a channel is no key");
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
        let said = load(&server.url(), "--count 10 --to stream");
        is_refused(&said, 1, &["did not append to messages:published", code, hint]);
        assert_eq!(number(&said), 0);
    }
}

#[test]
fn bad_input_is_a_usage_error_that_says_what_to_write() {
    for (options, hint) in [
        ("--rate 0", "above 0"),
        ("--batch 0", "0 is not in 1.."),
        ("--pause 500ms..100ms", "write it like 100ms..500ms"),
        ("--rate 5 --batch 5", "cannot be used with"),
        ("--to list", "possible values: channel, stream"),
    ] {
        is_refused(&load("redis://127.0.0.1:1", options), 2, &[hint]);
    }
}

fn is_refused(said: &Said, code: i32, texts: &[&str]) {
    assert_eq!(said.code, code, "{}", said.stderr);
    assert!(texts.iter().all(|text| said.stderr.contains(text)), "{texts:?}: {}", said.stderr);
}
