//! A stop under load.

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Failure};
use redis_private_server::PrivateServer;
use tokio::time::Instant;

use crate::fixture::{Fixture, INPUT, OUTPUT, connect, eventually, judge_at, try_order};
use crate::judge::{Witness, appended, judge};
use crate::load::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_published_before_a_stop_are_processed() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, group, witness, load } = Fixture::at(server, 20_000).await;
    let before = load.published();
    let ledger = group.shutdown().await.unwrap();
    assert!(load.stop().await.len() > before.len(), "the load went on");
    judge_at(&server, &before, &witness, &ledger).await;
    assert_eq!((ledger.gaps.count, ledger.abandoned, ledger.dropped), (0, 0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_published_before_a_stop_are_processed_even_by_consumers_that_are_behind() {
    let server = PrivateServer::builder().start().await.unwrap();
    let witness = Witness::default();
    let group = ConsumerGroup::builder(server.url())
        .consumers(20)
        .processor({
            let witness = witness.clone();
            move |consumer, message| {
                let record = witness.note(&consumer, &message);
                async move {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    Ok::<_, Failure>(record)
                }
            }
        })
        .start()
        .await
        .unwrap();
    let load = Load::start(server.addr(), INPUT, 4_000);
    eventually("they are behind", async || group.ledger().in_flight() > 2_000).await;
    let before = load.published();
    let ledger = group.shutdown().await.unwrap();
    load.stop().await;
    judge_at(&server, &before, &witness, &ledger).await;
    assert_eq!((ledger.gaps.count, ledger.abandoned, ledger.dropped), (0, 0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_stops_during_a_script_loses_nothing() {
    let server = PrivateServer::builder().arg("busy-reply-threshold", 100).start().await.unwrap();
    let Fixture { server, group, witness, load } = Fixture::at(server, 2_000).await;
    let script = tokio::spawn(crate::busy::run_script(connect(&server.url()).await, 2.0));
    let mut redis = connect(&server.url()).await;
    eventually("the server is busy", async || {
        try_order(&mut redis, "GET probe").await.is_err_and(|error| error.code() == Some("BUSY"))
    })
    .await;
    let before = load.published();
    let stopping = Instant::now();
    let ledger = group.shutdown().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(8), "{:?}", stopping.elapsed());
    script.await.unwrap();
    load.stop().await;
    judge_at(&server, &before, &witness, &ledger).await;
    assert_eq!((ledger.gaps.count, ledger.abandoned, ledger.dropped), (0, 0, 0), "{:?}", ledger.gaps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_may_not_unsubscribe_reports_that_and_stops() {
    let server =
        PrivateServer::builder().acl_user("group on >secret ~* &* +@all -unsubscribe").start().await.unwrap();
    let witness = Witness::default();
    let url = format!("redis://group:secret@{}", server.addr());
    let group = witness.beside(ConsumerGroup::builder(url)).start().await.unwrap();
    let load = Load::start(server.addr(), INPUT, 2_000);
    eventually("messages come in", async || witness.count() > 100).await;
    let stopping = Instant::now();
    let ledger = group.shutdown().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(5), "{:?}", stopping.elapsed());
    assert!(ledger.gaps.latest[0].cause.contains("unsubscribe"), "{:?}", ledger.gaps);
    let published = load.stop().await;
    judge_at(&server, &published, &witness, &ledger).await;
    assert_eq!(ledger.abandoned, 0, "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_is_cut_short_before_the_server_answers_is_a_gap() {
    let server = PrivateServer::builder().start().await.unwrap();
    let Fixture { server, group, witness, load } =
        Fixture::with(server, 2_000, |builder| builder.drain_timeout(Duration::from_secs(1))).await;
    server.freeze().unwrap();
    let ledger = group.shutdown().await.unwrap();
    assert_eq!(ledger.gaps.count, 1, "{ledger}");
    server.thaw().unwrap();
    let published = load.stop().await;
    let entries = appended(&mut connect(&server.url()).await, OUTPUT).await;
    judge(&published, &witness, &entries, &ledger);
}
