//! What cannot be followed, and how it is said.

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Error, SourceKind};
use redis_private_server::PrivateServer;

use crate::fixture::{SERVICE, Service};
use crate::load::publish;
use crate::support::{LIMIT, Server, eventually};

#[tokio::test]
async fn a_service_that_no_sentinel_knows_is_an_error_that_names_it() {
    let service = Service::start().await;
    let url = format!("redis+sentinel://{}/another", service.sentinels.addrs());
    let error = ConsumerGroup::builder(url).start().await.err().unwrap();
    assert!(matches!(error, Error::Config { option: "url", .. }), "{error}");
    assert!(error.to_string().contains("\"another\""), "{error}");
    assert!(error.to_string().contains("the URL"), "{error}");
}

#[tokio::test]
async fn sentinels_that_are_not_there_are_named() {
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
async fn a_server_that_is_no_sentinel_is_told_from_one() {
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
async fn a_server_that_is_no_primary_any_more_is_not_worked_with() {
    let service = Service::start().await;
    service.keeps_its_primary().await;
    // Behind the sentinels' backs; they undo it after a while.
    service.run::<()>(1, "REPLICAOF NO ONE").await;
    service.run::<()>(0, &format!("REPLICAOF 127.0.0.1 {}", service.nodes[1].port())).await;
    let group = service.group().start().await;
    match group {
        // They were quicker than our timeout.
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
async fn sharded_channels_are_for_clusters() {
    let service = Service::start().await;
    let error = service.group().source(SourceKind::Sharded).start().await.err().unwrap();
    assert!(matches!(error, Error::Config { option: "source", .. }), "{error}");
}

#[tokio::test]
async fn a_group_outlives_all_of_its_sentinels_as_long_as_its_primary_lives() {
    let mut service = Service::start().await;
    let group = service.group().start().await.unwrap();
    for sentinel in 0..3 {
        service.sentinels.sentinel(sentinel).kill().unwrap();
    }
    // Longer than it takes until the sentinels are asked again.
    tokio::time::sleep(Duration::from_secs(4)).await;
    publish(&service, 0, 10).await;
    eventually(LIMIT, "they are appended", async || group.ledger().processed == 10).await;
    assert_eq!(group.shutdown().await.unwrap().gaps.count, 0);
}
