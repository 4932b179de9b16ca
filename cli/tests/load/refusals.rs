//! The server refuses what `load` publishes, or the program refuses its arguments.

use redis_private_server::PrivateServer;

use crate::fixture::{number, server};
use crate::process::{Program, texts};

#[tokio::test]
async fn load_needs_only_the_permission_to_publish_to_the_channel() {
    let server = PrivateServer::builder()
        .acl_user("loader on >hush resetchannels &messages:published -@all +publish")
        .start()
        .await
        .unwrap();
    let url = format!("redis://loader:hush@{}", server.addr());
    let allowed = Program::start(&["load", "-u", &url, "--count", "10"]).end().await;
    assert_eq!(number(&texts(&allowed).0), 10);

    let refused = Program::start(&["load", "-u", &url, "--count", "10", "--input", "elsewhere"]).end().await;
    let (stdout, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(77));
    assert_eq!(number(&stdout), 0);
    assert!(stderr.contains("NOPERM") && stderr.contains("+publish &elsewhere"), "{stderr}");

    let url = format!("redis://loader:wrong@{}", server.addr());
    let refused = Program::start(&["load", "-u", &url, "--count", "10"]).end().await;
    let (_, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(77), "{stderr}");
    assert!(!stderr.contains("wrong@"), "{stderr}");
}

#[tokio::test]
async fn load_needs_only_the_permission_to_append_to_the_stream() {
    let server = PrivateServer::builder()
        .acl_user("loader on >hush resetchannels ~messages:published -@all +xadd")
        .start()
        .await
        .unwrap();
    let url = format!("redis://loader:hush@{}", server.addr());
    let publish = ["load", "-u", &url, "--to", "stream", "--count", "10"];
    let allowed = Program::start(&publish).end().await;
    assert_eq!(number(&texts(&allowed).0), 10);

    let refused = Program::start(&[&publish[..], &["--input", "elsewhere"]].concat()).end().await;
    let (stdout, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(77));
    assert_eq!(number(&stdout), 0);
    assert!(stderr.contains("NOPERM") && stderr.contains("+xadd ~elsewhere"), "{stderr}");
}

#[tokio::test]
async fn a_key_that_is_not_a_stream_is_a_configuration_error() {
    let server = server().await;
    let url = server.url();
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    redis::cmd("RPUSH").arg("messages:published").arg("mine").exec(&mut connection).unwrap();
    let publish = ["load", "-u", &url, "--count", "10"];
    let refused = Program::start(&[&publish[..], &["--to", "stream"]].concat()).end().await;
    let (stdout, stderr) = texts(&refused);
    assert_eq!(refused.status.code(), Some(78), "{stderr}");
    assert_eq!(number(&stdout), 0);
    assert!(stderr.contains("the key messages:published holds a value of another type"), "{stderr}");
    assert!(stderr.contains("rename the key, or choose another name (channel)"), "{stderr}");

    let allowed = Program::start(&publish).end().await;
    assert_eq!(number(&texts(&allowed).0), 10, "a channel is no key");
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
        let url = server.url();
        let publish = ["load", "-u", &url, "--count", "10", "--to", "stream"];
        let output = Program::start(&publish).end().await;
        let (stdout, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(number(&stdout), 0);
        assert!(stderr.contains("did not append to messages:published"), "{stderr}");
        assert!(stderr.contains(code) && stderr.contains(hint), "{stderr}");
    }
}

#[test]
fn bad_input_is_a_usage_error_that_says_what_to_write() {
    for (arguments, hint) in [
        (&["--rate", "0"][..], "above 0"),
        (&["--batch", "0"], "0 is not in 1.."),
        (&["--pause", "500ms..100ms"], "write it like 100ms..500ms"),
        (&["--rate", "5", "--batch", "5"], "cannot be used with"),
        (&["--to", "list"], "possible values: channel, stream"),
    ] {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_redis-consumer-group"));
        let output = command.arg("load").args(arguments).output().unwrap();
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(hint), "{stderr}");
    }
}
