//! Settings and servers that a group behind sentinels refuses, and the errors.

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Error, SourceKind};
use redis_private_server::PrivateServer;

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

#[tokio::test]
async fn one_sentinel_that_answers_is_enough() {
    let mut service = Service::start().await;
    service.sentinels.sentinel(0).freeze().unwrap();
    service.sentinels.sentinel(1).kill().unwrap();
    let group = service.group().start().await.unwrap();
    assert_eq!(group.shutdown().await.unwrap().received, 0);
}

#[tokio::test]
async fn nothing_is_written_to_a_server_that_is_not_the_primary_any_more() {
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
