//! A server that restarts: all confirmed data is still there.

use redis_private_server::PrivateServer;

use crate::fixture::{Fixture, IDS, OUTPUT, connect, eventually};
use crate::judge::{appended, judge};

async fn durable() -> PrivateServer {
    PrivateServer::builder().appendonly_always().start().await.unwrap()
}

async fn has_its_ids(fixture: &Fixture) {
    let mut redis = fixture.redis().await;
    let expected: Vec<_> =
        fixture.group.handle().consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
    eventually("the ids are in their list", async || {
        let ids: Vec<String> =
            redis::cmd("LRANGE").arg(IDS).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
        ids == expected
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_stops_and_restarts_of_the_server_under_load() {
    let mut fixture = Fixture::at(durable().await, 2_000).await;
    for restart in 1..=3 {
        fixture.server.restart().await.unwrap();
        fixture.goes_on().await;
        assert!(fixture.group.ledger().gaps.count >= restart);
    }
    has_its_ids(&fixture).await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (3, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_kills_and_restarts_of_the_server_under_load() {
    let mut fixture = Fixture::at(durable().await, 2_000).await;
    for restart in 1..=3 {
        fixture.server.kill().unwrap();
        fixture.server.restart().await.unwrap();
        fixture.goes_on().await;
        assert!(fixture.group.ledger().gaps.count >= restart);
    }
    has_its_ids(&fixture).await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (3, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_waits_for_a_server_that_is_down_for_longer() {
    let mut fixture = Fixture::at(durable().await, 2_000).await;
    fixture.server.kill().unwrap();
    // Longer than any single attempt waits.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    fixture.server.restart().await.unwrap();
    fixture.goes_on().await;
    has_its_ids(&fixture).await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (1, 0), "{ledger}");
    assert!(ledger.gaps.total.as_secs() >= 5, "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_server_is_down_stops_in_time_and_counts_unfinished_messages() {
    let seconds = std::time::Duration::from_secs;
    let Fixture { mut server, group, witness, load } =
        Fixture::with(durable().await, 2_000, |builder| builder.drain_timeout(seconds(2))).await;
    server.kill().unwrap();
    let ledger = tokio::time::timeout(seconds(6), group.shutdown()).await.unwrap().unwrap();
    assert_eq!(ledger.gaps.count, 1, "{:?}", ledger.gaps);
    server.restart().await.unwrap();
    let published = load.stop().await;
    let mut redis = connect(&server.url()).await;
    judge(&published, &witness, &appended(&mut redis, OUTPUT).await, &ledger);
}
