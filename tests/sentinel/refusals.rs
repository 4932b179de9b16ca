//! Settings and servers that a group behind sentinels refuses, and the errors.

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Error, SourceKind};
use redis_private_server::PrivateServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::fixture::{SERVICE, Service};
use crate::load::publish;
use crate::support::{LIMIT, Server, eventually};

#[tokio::test]
async fn the_error_for_a_service_that_no_sentinel_knows_names_the_service() {
    let service = Service::start().await;
    let url = format!("redis+sentinel://{}/another", service.sentinels.addrs());
    let error = ConsumerGroup::builder(url).start().await.err().unwrap();
    assert!(matches!(error, Error::Config { option: "url", .. }), "{error}");
    assert!(error.to_string().contains("\"another\""), "{error}");
    assert!(error.to_string().contains("the URL"), "{error}");
}

#[tokio::test]
async fn the_error_for_unreachable_sentinels_names_them() {
    let mut servers = Vec::new();
    for _ in 0..2 {
        let mut server = PrivateServer::builder().start().await.unwrap();
        server.kill().unwrap();
        servers.push(server);
    }
    let addrs = servers.iter().map(PrivateServer::addr).collect::<Vec<_>>();
    let url = format!("redis+sentinel://{}/{SERVICE}", addrs.join(","));
    let error = ConsumerGroup::builder(url).start().await.err().unwrap();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(addrs.iter().all(|addr| error.to_string().contains(addr)), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_a_sentinel_is_refused() {
    let server = Server::start().await;
    let url = format!("redis+sentinel://{}/{SERVICE}", server.addr());
    let error = ConsumerGroup::builder(url).start().await.err().unwrap();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().to_lowercase().contains("unknown command"), "{error}");
}

/// Plays a server or a sentinel, which gives these answers to any HELLO and to any other command. Returns its port.
async fn plays(hello: String, other: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (hello, other) = (hello.clone(), other.clone());
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                while let Ok(read @ 1..) = socket.read(&mut asked).await {
                    let is_hello = asked[..read].windows(5).any(|word| word == b"HELLO");
                    let answer = if is_hello { &hello } else { &other };
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    port
}

/// The answer to HELLO of Redis 6.2.14 and later.
fn greeting(version: &str, mode: &str) -> String {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    let texts = ["server", "redis", "version", version, "mode", mode, "role", "master"].map(bulk);
    format!("*8\r\n{}", texts.concat())
}

/// The answer to HELLO of Redis 5.0.
const NO_HELLO: &str = "-ERR unknown command `HELLO`, with args beginning with: `2`, `SETNAME`, \r\n";

async fn error_at(sentinel: u16) -> String {
    let start = Instant::now();
    let group = ConsumerGroup::builder(format!("redis+sentinel://127.0.0.1:{sentinel}/{SERVICE}"));
    let error = group.start().await.err().unwrap();
    assert!(matches!(error, Error::Config { option: "url", .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    error.to_string()
}

#[tokio::test]
async fn the_error_for_an_old_sentinel_names_it_and_the_version_that_is_needed() {
    for (hello, named) in [
        (greeting("6.2.14", "sentinel"), "is redis 6.2.14, but Redis 7.0 or later, or Valkey, is required"),
        (NO_HELLO.to_owned(), "does not know HELLO"),
    ] {
        let sentinel = plays(hello, "*-1\r\n".to_owned()).await;
        let error = error_at(sentinel).await;
        assert!(error.contains(&format!("127.0.0.1:{sentinel} {named}")), "{error}");
    }
}

#[tokio::test]
async fn the_error_for_an_old_server_behind_a_sentinel_names_the_server() {
    for (hello, named) in [
        (greeting("6.2.14", "standalone"), "is redis 6.2.14, but Redis 7.0 or later, or Valkey, is required"),
        (NO_HELLO.to_owned(), "does not know HELLO"),
    ] {
        let server = plays(hello, "+OK\r\n".to_owned()).await;
        let bulk = |text: String| format!("${}\r\n{text}\r\n", text.len());
        let names_it = format!("*2\r\n{}{}", bulk("127.0.0.1".to_owned()), bulk(server.to_string()));
        let sentinel = plays(greeting("7.0.15", "sentinel"), names_it).await;
        let error = error_at(sentinel).await;
        assert!(error.contains(&format!("127.0.0.1:{server} {named}")), "{error}");
    }
}

#[tokio::test]
async fn one_sentinel_that_answers_is_enough() {
    let mut service = Service::start().await;
    service.sentinels.sentinel(0).freeze().unwrap();
    service.sentinels.sentinel(1).kill().unwrap();
    let group = service.group().start().await.unwrap();
    assert_eq!(group.shutdown().await.unwrap().received, 0);
}

#[tokio::test]
async fn nothing_is_written_to_a_server_that_is_no_longer_the_primary() {
    let service = Service::start().await;
    service.keeps_its_primary().await;
    // Without the sentinels, which revert it after some time.
    service.run::<()>(1, "REPLICAOF NO ONE").await;
    service.run::<()>(0, &format!("REPLICAOF 127.0.0.1 {}", service.nodes[1].port())).await;
    let group = service.group().start().await;
    match group {
        // The sentinels reverted it within our timeout.
        Ok(group) => drop(group.shutdown().await.unwrap()),
        Err(error) => {
            assert!(matches!(error, Error::Unreachable { .. }), "{error}");
            assert!(error.to_string().contains("is not the primary of mymaster"), "{error}");
        }
    }
    for node in 0..2 {
        let written: Vec<String> = service.run(node, "KEYS messages:*").await;
        assert_eq!(written, [""; 0]);
    }
}

#[tokio::test]
async fn sharded_channels_are_refused_behind_sentinels() {
    let service = Service::start().await;
    let error = service.group().source(SourceKind::Sharded).start().await.err().unwrap();
    assert!(matches!(error, Error::Config { option: "source", .. }), "{error}");
}

#[tokio::test]
async fn a_group_survives_the_death_of_all_its_sentinels_while_its_primary_lives() {
    let mut service = Service::start().await;
    let group = service.group().start().await.unwrap();
    for sentinel in 0..3 {
        service.sentinels.sentinel(sentinel).kill().unwrap();
    }
    // Longer than the interval at which the sentinels are asked.
    tokio::time::sleep(Duration::from_secs(4)).await;
    publish(&service, 0, 10).await;
    eventually(LIMIT, "they are appended", async || group.ledger().processed == 10).await;
    assert_eq!(group.shutdown().await.unwrap().gaps.count, 0);
}
