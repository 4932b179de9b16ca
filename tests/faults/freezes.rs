//! A frozen server (SIGSTOP) delivers everything afterwards, to the connections that stayed open.

use std::time::Duration;

use redis_private_server::PrivateServer;
use tokio::time::sleep;

use crate::fixture::{Fixture, IDS, order};

/// Freezes a server under load for this many seconds. No message may be lost, so there may be no gap.
async fn frozen_for(seconds: u64) {
    let server = PrivateServer::builder().start().await.unwrap();
    let fixture = Fixture::at(server, 2_000).await;
    fixture.server.freeze().unwrap();
    let (received, published) = (fixture.group.ledger().received, fixture.load.count() as u64);
    sleep(Duration::from_secs(seconds)).await;
    assert!(fixture.group.ledger().received < received + 1_000, "it stood still");
    fixture.server.thaw().unwrap();
    fixture.goes_on().await;

    let mut redis = fixture.redis().await;
    let ids: Vec<String> =
        redis::cmd("LRANGE").arg(IDS).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
    assert!(
        fixture.group.handle().consumers().iter().all(|consumer| ids.contains(&consumer.id().to_owned())),
        "{ids:?}"
    );
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.dropped, ledger.abandoned), (0, 0, 0), "{:?}", ledger.gaps);
    // They include the messages that were published into the frozen server's socket.
    assert!(ledger.received > published + seconds * 1_000, "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_frozen_for_3_seconds_causes_no_gap() {
    frozen_for(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_frozen_for_7_seconds_causes_no_gap() {
    frozen_for(7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_frozen_for_20_seconds_causes_no_gap() {
    frozen_for(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_a_frozen_server_that_is_soon_thawed_loses_nothing() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, group, witness, load } = Fixture::at(server, 2_000).await;
    server.freeze().unwrap();
    // By now the liveness check of the connection runs.
    sleep(Duration::from_millis(4_200)).await;
    let before = load.published();
    group.stop();
    sleep(Duration::from_millis(300)).await;
    server.thaw().unwrap();
    let ledger = group.shutdown().await.unwrap();
    let _ = load.stop().await;
    crate::fixture::judge_at(&server, &before, &witness, &ledger).await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (0, 0), "{:?}", ledger.gaps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_a_frozen_server_ends_in_time_and_counts_unfinished_messages() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, group, witness, load } =
        Fixture::with(server, 2_000, |builder| builder.drain_timeout(Duration::from_secs(8))).await;
    let before = load.published();
    server.freeze().unwrap();
    let ledger = tokio::time::timeout(Duration::from_secs(12), group.shutdown()).await.unwrap().unwrap();
    assert_eq!(ledger.gaps.count, 1, "{ledger}");
    server.thaw().unwrap();
    let _ = load.stop().await;
    // The end is not clean: keys stay until the lease expires.
    let mut redis = crate::fixture::connect(&server.url()).await;
    let appended = crate::judge::appended(&mut redis, crate::fixture::OUTPUT).await;
    crate::judge::judge(&before, &witness, &appended, &ledger);
}

/// Makes the server pause its clients, under load.
async fn paused(mode: &str) {
    let server = PrivateServer::builder().start().await.unwrap();
    let fixture = Fixture::at(server, 2_000).await;
    let mut redis = fixture.redis().await;
    order(&mut redis, &format!("CLIENT PAUSE 7000 {mode}")).await;
    let before = fixture.group.ledger();
    // Longer than a lane waits for an answer.
    sleep(Duration::from_secs(6)).await;
    assert!(fixture.group.ledger().processed < before.processed + 1_000, "it is paused");
    fixture.goes_on().await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.dropped, ledger.abandoned), (0, 0, 0), "{:?}", ledger.gaps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_pause_of_all_clients() {
    paused("ALL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_pause_of_clients_that_write() {
    paused("WRITE").await;
}
