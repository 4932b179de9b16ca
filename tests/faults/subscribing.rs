//! Messages that arrive together with the confirmation of a subscription.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis_consumer_group::ConsumerGroup;
use redis_private_server::PrivateServer;

use crate::fixture::{INPUT, OUTPUT, connect, eventually, judge_at, order, within};
use crate::judge::Witness;
use crate::load::by_hand;
use crate::proxy::Proxy;

/// Publishes this id as soon as there is a subscriber.
async fn publish_when_subscribed(redis: &mut MultiplexedConnection, id: u64) {
    eventually("somebody is subscribed", async || {
        let heard = redis::cmd("PUBLISH").arg(INPUT).arg(id).query_async::<u32>(redis).await;
        heard.unwrap() == 1
    })
    .await;
}

/// Waits for this many entries, for less time than passes before a quiet connection is pinged.
async fn soon_appended(redis: &mut MultiplexedConnection, entries: u64) {
    within(Duration::from_secs(1), "the message is in the output", async || {
        redis::cmd("XLEN").arg(OUTPUT).query_async::<u64>(redis).await.unwrap() == entries
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_arrives_with_the_confirmation_is_processed_at_once() {
    let server = PrivateServer::builder().start().await.unwrap();
    let proxy = Proxy::before(server.addr()).await;
    proxy.join_confirmation_and_message();
    let witness = Witness::default();
    let mut redis = connect(&server.url()).await;
    let start = witness.beside(ConsumerGroup::builder(proxy.url())).start();
    let (group, ()) = tokio::join!(start, publish_when_subscribed(&mut redis, 0));
    let group = group.unwrap();
    soon_appended(&mut redis, 1).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!(ledger.gaps.count, 0, "{ledger}");
    judge_at(&server, &by_hand([0]), &witness, &ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_arrives_with_the_confirmation_after_a_reconnect_is_processed_at_once() {
    let server = PrivateServer::builder().start().await.unwrap();
    let proxy = Proxy::before(server.addr()).await;
    let witness = Witness::default();
    let mut redis = connect(&server.url()).await;
    let group = witness.beside(ConsumerGroup::builder(proxy.url())).start().await.unwrap();
    publish_when_subscribed(&mut redis, 0).await;
    eventually("the first message is processed", async || group.ledger().processed == 1).await;
    proxy.join_confirmation_and_message();
    order(&mut redis, "CLIENT KILL TYPE pubsub").await;
    publish_when_subscribed(&mut redis, 1).await;
    soon_appended(&mut redis, 2).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.received, ledger.gaps.count), (2, 1), "{ledger}");
    judge_at(&server, &by_hand([0, 1]), &witness, &ledger).await;
}
