//! A server that stands still (SIGSTOP) delivers everything afterwards, to those who stayed.

use std::time::Duration;

use redis_private_server::PrivateServer;
use tokio::time::sleep;

use crate::fixture::{Fixture, IDS, order};

/// Freezes a server under load for so long. Nothing may be lost, so there may be no gap.
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
        fixture.group.consumers().iter().all(|consumer| ids.contains(&consumer.id().to_owned())),
        "{ids:?}"
    );
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.dropped, ledger.abandoned), (0, 0, 0), "{:?}", ledger.gaps);
    // What was published into the frozen server's socket is among them.
    assert!(ledger.received > published + seconds * 1_000, "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_3_seconds() {
    frozen_for(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_7_seconds() {
    frozen_for(7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_for_20_seconds() {
    frozen_for(20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_when_it_is_told_to_stop_and_thawed_soon_after_nothing_is_lost() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, group, witness, load } = Fixture::at(server, 2_000).await;
    server.freeze().unwrap();
    // The connection is suspected by now.
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
async fn frozen_for_good_the_group_ends_in_time_and_says_what_was_left() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, group, witness, load } =
        Fixture::with(server, 2_000, |builder| builder.drain_timeout(Duration::from_secs(8))).await;
    let before = load.published();
    server.freeze().unwrap();
    let ledger = tokio::time::timeout(Duration::from_secs(12), group.shutdown()).await.unwrap().unwrap();
    assert_eq!(ledger.gaps.count, 1, "{ledger}");
    server.thaw().unwrap();
    let _ = load.stop().await;
    // No clean end: keys stay until the lease is over.
    let mut redis = crate::fixture::connect(&server.url()).await;
    let appended = crate::judge::appended(&mut redis, crate::fixture::OUTPUT).await;
    crate::judge::judge(&before, &witness, &appended, &ledger);
}

/// Has the server hold back clients for so long, under load.
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
async fn paused_for_all_clients() {
    paused("ALL").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_for_clients_that_write() {
    paused("WRITE").await;
}
