//! Keys that are deleted or replaced while a group uses them.

use std::time::Duration;

use redis_consumer_group::Error;
use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::{Fixture, IDS, OUTPUT, connect, eventually, order};
use crate::judge::appended;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_continues_while_the_server_is_flushed_repeatedly() {
    let server = PrivateServer::builder().start().await.unwrap();
    let fixture = Fixture::with(server, 5_000, |builder| builder.lease(Duration::from_secs(3))).await;
    let mut redis = fixture.redis().await;
    for _ in 0..10 {
        order(&mut redis, "FLUSHALL").await;
        sleep(Duration::from_millis(100)).await;
    }
    order(&mut redis, "FLUSHALL").await;
    let before = fixture.witness.ids();
    fixture.goes_on().await;
    let expected: Vec<_> =
        fixture.group.handle().consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
    eventually("the ids come back", async || {
        let ids: Vec<String> =
            redis::cmd("LRANGE").arg(IDS).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
        ids == expected
    })
    .await;
    let Fixture { server: _server, group, witness, load } = fixture;
    let published = load.stop().await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.gaps.count, ledger.abandoned, ledger.in_flight()), (0, 0, 0), "{ledger}");
    assert_eq!((ledger.received, ledger.processed), (published.len() as u64, published.len() as u64));
    let entries = appended(&mut redis, OUTPUT).await;
    assert!(entries.values().all(|times| *times == 1), "twice");
    let missing = witness.ids().iter().filter(|id| !before.contains(id) && !entries.contains_key(id)).count();
    assert_eq!(missing, 0, "received after the last flush");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_continues_while_the_keys_of_its_lanes_are_deleted_repeatedly() {
    let server = PrivateServer::builder().start().await.unwrap();
    let fixture = Fixture::at(server, 5_000).await;
    let mut redis = fixture.redis().await;
    let (mut deleted, end) = (0, Instant::now() + Duration::from_secs(3));
    while Instant::now() < end {
        let keys: Vec<String> = redis::cmd("KEYS").arg("*lane:*").query_async(&mut redis).await.unwrap();
        for key in keys {
            deleted += redis::cmd("DEL").arg(key).query_async::<u32>(&mut redis).await.unwrap();
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(deleted > 20, "{deleted}");
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lanes_key_that_becomes_a_string_ends_the_group_with_an_error_that_names_it() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, mut group, load, .. } = Fixture::at(server, 2_000).await;
    let mut redis = connect(&server.url()).await;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{{{OUTPUT}}}:lane:*")).query_async(&mut redis).await.unwrap();
    // The first lane, because the second one may be idle.
    let lane = keys.iter().find(|key| key.ends_with(":0")).expect("a running group has lanes");
    order(&mut redis, &format!("SET {lane} x")).await;
    let end = timeout(Duration::from_secs(5), group.join()).await.expect("it tries again forever");
    load.stop().await;
    match end {
        Err(Error::WrongType { key, .. }) => assert_eq!(key, *lane),
        end => panic!("{end:?}"),
    }
}
