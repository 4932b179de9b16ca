//! A subscriber's connection that falls silent while the server runs.

use std::time::Duration;

use redis_consumer_group::ConsumerGroup;
use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep};

use crate::fixture::{Fixture, INPUT, OUTPUT, connect, eventually, judge_at, within};
use crate::judge::{Witness, appended};
use crate::load::{Load, by_hand};
use crate::proxy::{Proxy, Whose};

async fn behind_a_proxy() -> (Fixture, Proxy) {
    let server = PrivateServer::builder().start().await.unwrap();
    let proxy = Proxy::before(server.addr()).await;
    let witness = Witness::default();
    let group = witness.beside(ConsumerGroup::builder(proxy.url())).start().await.unwrap();
    let load = Load::start(server.addr(), INPUT, 2_000);
    let fixture = Fixture { server, group, witness, load };
    fixture.goes_on().await;
    (fixture, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_subscriber_is_replaced_and_the_gap_is_reported() {
    let (fixture, proxy) = behind_a_proxy().await;
    assert_eq!(proxy.hold(Whose::Subscriber), 1);
    let silent_since = Instant::now();
    let noticed = || proxy.count(Whose::Subscriber) == 2;
    within(Duration::from_secs(5), "a second connection is opened", async || noticed()).await;
    let gaps = || fixture.group.ledger().gaps;
    within(Duration::from_secs(3), "the gap is reported", async || gaps().latest.len() == 1).await;
    let (gap, lasted) = (gaps().latest[0].clone(), silent_since.elapsed());
    assert!(gap.cause.contains("silent"), "{gap:?}");
    assert!(gap.duration > Duration::from_millis(3_500) && gap.duration < lasted, "{gap:?} of {lasted:?}");
    // Too late: the group no longer reads this connection.
    proxy.release(Whose::Subscriber);
    fixture.goes_on().await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (1, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_answers_within_its_last_second_is_kept() {
    let (fixture, proxy) = behind_a_proxy().await;
    assert_eq!(proxy.hold(Whose::Subscriber), 1);
    within(Duration::from_secs(6), "a second connection is opened", async || {
        proxy.count(Whose::Subscriber) == 2
    })
    .await;
    // Long enough for messages to arrive on both.
    sleep(Duration::from_millis(400)).await;
    assert_eq!(proxy.release(Whose::Subscriber), 1);
    eventually("the second connection is closed", async || proxy.count(Whose::Subscriber) == 1).await;
    fixture.goes_on().await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (0, 0), "{:?}", ledger.gaps);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_is_silent_when_the_group_stops_is_given_up_in_time() {
    let (Fixture { server, group, witness, load }, proxy) = behind_a_proxy().await;
    proxy.hold(Whose::Subscriber);
    let stopping = Instant::now();
    let ledger = group.shutdown().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(7), "{:?}", stopping.elapsed());
    let published = load.stop().await;
    judge_at(&server, &published, &witness, &ledger).await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (1, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_only_the_second_connection_received_before_a_stop_are_processed() {
    const MESSAGES: u64 = 10;
    let server = PrivateServer::builder().start().await.unwrap();
    let proxy = Proxy::before(server.addr()).await;
    let witness = Witness::default();
    let group = witness.beside(ConsumerGroup::builder(proxy.url())).start().await.unwrap();
    let mut redis = connect(&server.url()).await;
    assert_eq!(proxy.hold(Whose::Subscriber), 1);
    let second = "a second connection is subscribed beside the silent one";
    within(Duration::from_secs(6), second, async || {
        let answer = redis::cmd("PUBSUB").arg("NUMSUB").arg(INPUT).query_async(&mut redis).await;
        let (_, subscribers): (String, u32) = answer.unwrap();
        subscribers == 2
    })
    .await;
    for id in 0..MESSAGES {
        let heard: u32 = redis::cmd("PUBLISH").arg(INPUT).arg(id).query_async(&mut redis).await.unwrap();
        assert_eq!(heard, 2, "the verdict was there too early");
    }
    // The messages have time to arrive, which nothing shows. The silent connection has most of its last second left.
    sleep(Duration::from_millis(200)).await;
    assert_eq!(group.ledger().received, 0, "the verdict was there too early");
    let stopping = Instant::now();
    let ledger = group.shutdown().await.unwrap();
    assert!(stopping.elapsed() < Duration::from_secs(7), "{:?}", stopping.elapsed());
    assert_eq!((ledger.received, ledger.processed, ledger.gaps.count), (MESSAGES, MESSAGES, 1), "{ledger}");
    judge_at(&server, &by_hand(0..MESSAGES), &witness, &ledger).await;
    assert_eq!(appended(&mut redis, OUTPUT).await.len(), witness.count());
}
