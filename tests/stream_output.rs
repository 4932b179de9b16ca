//! How records are appended, and the behavior of a full buffer.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use redis_consumer_group::{Builder, Commit, Failure, Overflow, Processor, Record};
use support::{LIMIT, OUTPUT, REJECTED, Server, eventually, judge, settled};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn maxlen_trims_the_output_to_about_the_last_entries() {
    let server = Server::start().await;
    let group = server.group().consumers(1).maxlen(1_000).start().await.unwrap();
    let published = server.publish(20_000).await;
    settled(&group, published.len()).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!(ledger.processed, 20_000);
    let entries = server.output().await;
    // The server trims whole nodes of 100 entries.
    assert!((1_000..=1_100).contains(&entries.len()), "{}", entries.len());
    judge(&published[published.len() - entries.len()..], &entries).assert_flawless();
}

#[tokio::test]
async fn a_pipelined_commit_appends_everything_and_stores_no_commit_numbers() {
    let server = Server::start().await;
    let group = server.group().commit(Commit::AtLeastOnce).maxlen(1_000_000).start().await.unwrap();
    let published = server.publish(5_000).await;
    server.publish_payload("no JSON").await;
    settled(&group, published.len() + 1).await;
    let keys = server.keys().await;
    assert!(keys.iter().all(|key| !key.contains(":lane:")), "{keys:?}");
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (5_000, 1));
    judge(&published, &server.output().await).assert_flawless();
    assert_eq!(server.keys().await, [OUTPUT, REJECTED]);
}

#[tokio::test]
async fn the_names_of_keys_and_channels_are_options() {
    let server = Server::start().await;
    let group = server
        .group()
        .input("in")
        .output("{x}out")
        .rejected("no {thanks")
        .ids_key("ids")
        .start()
        .await
        .unwrap();
    let mut connection = server.connection().await;
    let published = support::publish_on(&mut connection, "in", 100).await;
    redis::cmd("PUBLISH").arg("in").arg("no JSON").exec_async(&mut connection).await.unwrap();
    settled(&group, 101).await;
    assert_eq!(server.run::<Vec<String>>("LRANGE ids 0 -1").await, support::ids_of(&group));
    group.shutdown().await.unwrap();
    judge(&published, &server.entries("{x}out").await).assert_flawless();
    assert_eq!(server.entries("no {thanks").await[0].text("source"), Some("in"));
    assert_eq!(server.keys().await, ["no {thanks", "{x}out"]);
}

/// A group with the smallest buffer and one consumer, which waits for a token before each message.
fn stuck(server: &Server, gate: &Arc<Semaphore>) -> Builder<impl Processor> {
    let gate = gate.clone();
    server.group().consumers(1).buffer(64 << 10).max_payload(10_000).processor(move |_, message| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok::<_, Failure>(Record::new().bytes("message_id", &message.payload()[15..51]))
        }
    })
}

const PLENTY: usize = 1 << 20;

#[tokio::test]
async fn a_full_buffer_drops_the_newest_messages_and_counts_them() {
    let (server, gate) = (Server::start().await, Arc::new(Semaphore::new(0)));
    let group = stuck(&server, &gate).start().await.unwrap();
    let published = server.publish(5_000).await;
    support::received(&group, published.len()).await;
    let ledger = group.ledger();
    assert_eq!((ledger.received, ledger.processed), (5_000, 0));
    // 64 KiB hold about as many frames of 102 bytes.
    assert!((4_000..4_900).contains(&ledger.dropped), "{ledger}");
    assert_eq!(ledger.in_flight(), 5_000 - ledger.dropped);

    gate.add_permits(PLENTY);
    settled(&group, published.len()).await;
    let after = server.publish(100).await;
    settled(&group, published.len() + 100).await;
    let end = group.shutdown().await.unwrap();
    let kept = 5_000 - usize::try_from(ledger.dropped).unwrap();
    assert_eq!((end.dropped, end.processed, end.gaps.count), (ledger.dropped, kept as u64 + 100, 0));
    judge(&[&published[..kept], &after].concat(), &server.output().await).assert_flawless();
}

#[tokio::test]
async fn waiting_for_room_drops_nothing_and_does_not_count_as_silence() {
    let (server, gate) = (Server::start().await, Arc::new(Semaphore::new(0)));
    let group = stuck(&server, &gate).overflow(Overflow::Wait).start().await.unwrap();
    // Half a megabyte: the server buffers 8 MB for a minute before it disconnects a subscriber.
    let published = server.publish(5_000).await;
    eventually(LIMIT, "the buffer is full", async || group.ledger().received > 100).await;
    // The test: the group does not read for longer than a connection may be silent.
    sleep(Duration::from_secs(6)).await;
    assert!(group.ledger().received < 5_000, "reading never stopped");
    gate.add_permits(PLENTY);
    settled(&group, published.len()).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.dropped, ledger.gaps.count), (5_000, 0, 0));
    judge(&published, &server.output().await).assert_flawless();
}

#[tokio::test]
async fn a_stop_reads_the_messages_that_the_server_still_buffers() {
    let (server, gate) = (Server::start().await, Arc::new(Semaphore::new(0)));
    let mut group = stuck(&server, &gate).overflow(Overflow::Wait).start().await.unwrap();
    // Twenty times the buffer: when the stop begins, most of it is in sockets or in the server.
    let published = server.publish(10_000).await;
    eventually(LIMIT, "the buffer is full", async || group.ledger().received > 100).await;
    group.stop();
    assert!(group.ledger().received < 10_000, "everything was read before the stop");
    gate.add_permits(PLENTY);
    let ledger = timeout(LIMIT, group.join()).await.unwrap().unwrap();
    assert_eq!((ledger.processed, ledger.gaps.count), (10_000, 0));
    judge(&published, &server.output().await).assert_flawless();
}

#[tokio::test]
async fn a_stop_abandons_stuck_messages_after_the_drain_timeout() {
    for overflow in [Overflow::Drop, Overflow::Wait] {
        let (server, gate) = (Server::start().await, Arc::new(Semaphore::new(0)));
        let group = stuck(&server, &gate)
            .overflow(overflow)
            .drain_timeout(Duration::from_millis(300))
            .start()
            .await
            .unwrap();
        server.publish(5_000).await;
        eventually(LIMIT, "the buffer is full", async || group.ledger().received > 100).await;
        let ledger = timeout(LIMIT, group.shutdown()).await.unwrap().unwrap();
        assert_eq!((ledger.processed, ledger.in_flight()), (0, 0), "{ledger}");
        assert!(ledger.abandoned > 100, "{ledger}");
        assert_eq!(ledger.received, ledger.dropped + ledger.abandoned);
        assert_eq!(server.keys().await, [""; 0]);
    }
}

#[tokio::test]
async fn the_handle_returns_the_same_result_as_join_after_the_end() {
    let (server, gate) = (Server::start().await, Arc::new(Semaphore::new(0)));
    let mut group = stuck(&server, &gate).drain_timeout(Duration::from_millis(300)).start().await.unwrap();
    server.publish(100).await;
    support::received(&group, 100).await;
    group.stop();
    let end = timeout(LIMIT, group.join()).await.unwrap().unwrap();
    assert_eq!((end.received, end.abandoned, end.in_flight()), (100, 100, 0));
    assert_eq!(group.ledger(), end);
    assert_eq!(group.join().await.unwrap(), end);
}
