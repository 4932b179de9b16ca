//! The results of a processor, and what they do with the message.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_consumer_group::{Failure, Outcome, Record};
use support::{INPUT, LIMIT, Server, eventually, ids_of, settled};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

fn text(message: &redis_consumer_group::Message) -> String {
    String::from_utf8(message.payload().to_vec()).unwrap()
}

#[tokio::test]
async fn a_record_becomes_one_entry_with_its_fields_in_order() {
    let server = Server::start().await;
    let group = server
        .group()
        .processor(|consumer, message| async move {
            assert_eq!((message.channel(), message.attempt()), (INPUT, 1));
            Ok::<_, Failure>(
                Record::new().bytes("z", message.payload()).field("a", consumer.id()).bytes("z", [0, 255]),
            )
        })
        .start()
        .await
        .unwrap();
    server.publish_payload(b"\0 any \r\n bytes \xff").await;
    settled(&group, 1).await;
    let ids = ids_of(&group);
    group.shutdown().await.unwrap();
    let [entry] = &server.output().await[..] else { panic!("one entry") };
    let names: Vec<_> = entry.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["z", "a", "z"]);
    assert_eq!(entry.bytes("z").unwrap(), b"\0 any \r\n bytes \xff");
    assert_eq!(entry.fields[2].1, [0, 255]);
    assert!(ids.iter().any(|id| entry.text("a") == Some(id)));
}

#[tokio::test]
async fn several_records_are_appended_together_and_count_as_one_message() {
    let server = Server::start().await;
    let group = server
        .group()
        .consumers(4)
        .processor(|_, message| async move {
            let part = |n: usize| Record::new().bytes("of", message.payload()).field("part", n.to_string());
            Ok::<_, Failure>((0..3).map(part).collect::<Vec<_>>())
        })
        .start()
        .await
        .unwrap();
    let published = server.publish(100).await;
    settled(&group, 100).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.received, ledger.processed, ledger.skipped), (100, 100, 0));
    let entries = server.output().await;
    assert_eq!(entries.len(), 3 * published.len());
    for parts in entries.chunks(3) {
        assert!(parts.iter().all(|part| part.text("of") == parts[0].text("of")), "{parts:?}");
        assert_eq!(parts.iter().map(|part| part.text("part").unwrap()).collect::<String>(), "012");
    }
}

#[tokio::test]
async fn a_skipped_message_is_processed_without_an_entry() {
    let server = Server::start().await;
    let group = server
        .group()
        .processor(|_, message| async move {
            Ok::<_, Failure>(match message.payload() {
                b"skip" => Outcome::Skip,
                b"none" => Vec::new().into(),
                payload => Record::new().bytes("p", payload).into(),
            })
        })
        .start()
        .await
        .unwrap();
    for payload in ["skip", "keep", "none"] {
        server.publish_payload(payload).await;
    }
    settled(&group, 3).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.skipped, ledger.rejected), (3, 2, 0));
    assert!(ledger.to_string().contains("2 of the processed were skipped"), "{ledger}");
    let entries = server.output().await;
    assert_eq!(entries.iter().map(|entry| entry.text("p").unwrap()).collect::<Vec<_>>(), ["keep"]);
    assert_eq!(server.rejected().await, []);
}

#[tokio::test]
async fn a_rejected_message_is_kept_byte_for_byte_with_the_reason() {
    let server = Server::start().await;
    let group = server
        .group()
        .processor(|_, _| async { Err::<Record, _>(Failure::reject("no such customer")) })
        .start()
        .await
        .unwrap();
    let payload: Vec<u8> = (0..=255).cycle().take(1000).collect();
    server.publish_payload(&payload).await;
    settled(&group, 1).await;
    let ids = ids_of(&group);
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (0, 1));
    let [entry] = &server.rejected().await[..] else { panic!("one entry") };
    let names: Vec<_> = entry.fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["payload", "error", "consumer_id", "source", "attempts"]);
    assert_eq!(entry.bytes("payload").unwrap(), payload);
    assert_eq!(entry.text("error"), Some("no such customer"));
    assert!(ids.iter().any(|id| entry.text("consumer_id") == Some(id)));
    assert_eq!(entry.text("source"), Some(INPUT));
    assert_eq!(server.output().await, []);
}

#[tokio::test]
async fn a_message_is_retried_while_its_consumer_continues_and_finally_rejected() {
    let server = Server::start().await;
    let attempts: Arc<Mutex<Vec<(String, u32, Instant)>>> = Arc::default();
    let group = server
        .group()
        .consumers(1)
        .max_attempts(3)
        .processor({
            let attempts = attempts.clone();
            move |_, message| {
                attempts.lock().unwrap().push((text(&message), message.attempt(), Instant::now()));
                async move {
                    match (message.payload(), message.attempt()) {
                        (b"never", _) | (b"second", 1) => Err(Failure::try_again("the shop is closed")),
                        (payload, _) => Ok(Record::new().bytes("p", payload)),
                    }
                }
            }
        })
        .start()
        .await
        .unwrap();
    for payload in ["never", "second", "first", "first"] {
        server.publish_payload(payload).await;
    }
    settled(&group, 4).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.received, ledger.processed, ledger.rejected), (4, 3, 1));

    let attempts = attempts.lock().unwrap().clone();
    let of = |wanted: &str| attempts.iter().filter(|(p, ..)| p == wanted).collect::<Vec<_>>();
    assert_eq!(of("never").iter().map(|(_, n, _)| *n).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(of("second").iter().map(|(_, n, _)| *n).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(of("first").iter().map(|(_, n, _)| *n).collect::<Vec<_>>(), [1, 1]);
    // The message was set aside, so others were processed meanwhile; and its attempts were apart.
    assert!(of("first")[1].2 < of("never")[1].2, "{attempts:?}");
    assert!(of("never")[1].2 - of("never")[0].2 >= Duration::from_millis(100), "{attempts:?}");
    assert!(of("never")[2].2 - of("never")[1].2 >= Duration::from_millis(200), "{attempts:?}");

    let [entry] = &server.rejected().await[..] else { panic!("one entry") };
    assert_eq!(entry.text("payload"), Some("never"));
    assert_eq!(entry.text("error"), Some("gave up after 3 attempts: the shop is closed"));
    assert_eq!(server.output().await.len(), 3);
}

#[tokio::test]
async fn a_stop_makes_the_remaining_attempts_without_the_full_backoff() {
    let server = Server::start().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let group = server
        .group()
        .max_attempts(9)
        .processor({
            let calls = calls.clone();
            move |_, _| {
                calls.fetch_add(1, Ordering::Relaxed);
                async { Err::<Record, _>(Failure::try_again("never")) }
            }
        })
        .start()
        .await
        .unwrap();
    server.publish(1).await;
    eventually(LIMIT, "a first attempt", async || calls.load(Ordering::Relaxed) > 0).await;
    // The delays of eight attempts would be 25 s or more.
    let ledger = timeout(Duration::from_secs(8), group.shutdown()).await.unwrap().unwrap();
    assert_eq!((calls.load(Ordering::Relaxed), ledger.rejected, ledger.abandoned), (9, 1, 0));
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_counts_as_failed() {
    let server = Server::start().await;
    let group = server
        .group()
        .consumers(1)
        .max_attempts(2)
        .processor_timeout(Duration::from_millis(50))
        .processor(|_, message| async move {
            if message.payload() == b"stuck" {
                std::future::pending::<()>().await;
            }
            Ok::<_, Failure>(Record::new().bytes("p", message.payload()))
        })
        .start()
        .await
        .unwrap();
    server.publish_payload("stuck").await;
    server.publish_payload("quick").await;
    settled(&group, 2).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (1, 1));
    let [entry] = &server.rejected().await[..] else { panic!("one entry") };
    assert_eq!(entry.text("payload"), Some("stuck"));
    assert_eq!(entry.text("error"), Some("gave up after 2 attempts: no result within 50ms"));
}

#[tokio::test]
async fn a_panic_rejects_its_message_and_the_consumer_continues() {
    let server = Server::start().await;
    let group = server
        .group()
        .consumers(1)
        .processor(|_, message| {
            // Panics in the call, in the first poll of the future, or in a later poll.
            assert!(message.payload() != b"call", "in the call");
            async move {
                assert!(message.payload() != b"poll", "in the first poll of {}", 1);
                tokio::task::yield_now().await;
                assert!(message.payload() != b"later", "in a later poll");
                if message.payload() == b"other" {
                    std::panic::panic_any(7);
                }
                Ok::<_, Failure>(Record::new().bytes("p", message.payload()))
            }
        })
        .start()
        .await
        .unwrap();
    for payload in ["call", "poll", "later", "other", "fine"] {
        server.publish_payload(payload).await;
    }
    settled(&group, 5).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (1, 4));
    let rejected = server.rejected().await;
    let reasons: Vec<_> = rejected.iter().map(|entry| entry.text("error").unwrap()).collect();
    assert_eq!(
        reasons,
        [
            "the processor panicked: in the call",
            "the processor panicked: in the first poll of 1",
            "the processor panicked: in a later poll",
            "the processor panicked: (without a message)",
        ]
    );
    assert_eq!(server.output().await[0].text("p"), Some("fine"));
}

#[tokio::test]
async fn a_record_without_fields_is_rejected_and_nothing_of_its_message_is_appended() {
    let server = Server::start().await;
    let group = server
        .group()
        .processor(|_, _| async { Ok::<_, Failure>(vec![Record::new().field("a", "b"), Record::new()]) })
        .start()
        .await
        .unwrap();
    server.publish(1).await;
    settled(&group, 1).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (0, 1));
    assert!(server.rejected().await[0].text("error").unwrap().contains("a record without fields"));
    assert_eq!(server.output().await, []);
}

#[tokio::test]
async fn a_processor_that_blocks_its_thread_delays_neither_reading_nor_committing() {
    let server = Server::start().await;
    let (blocked, release) = (Arc::new(Semaphore::new(0)), Arc::new(std::sync::Barrier::new(2)));
    // The consumers' runtime has one thread; the test runs on another.
    let workers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let start = server
        .group()
        .consumers(1)
        .processor({
            let (blocked, release) = (blocked.clone(), release.clone());
            move |_, message| {
                let (blocked, release) = (blocked.clone(), release.clone());
                async move {
                    if message.payload() == b"block" {
                        blocked.add_permits(1);
                        release.wait();
                    }
                    Ok::<_, Failure>(Record::new().bytes("message_id", message.payload()))
                }
            }
        })
        .start();
    let group = workers.spawn(start).await.unwrap().unwrap();
    server.publish_payload("before").await;
    server.publish_payload("block").await;
    drop(blocked.acquire().await.unwrap());
    server.publish(100).await;
    eventually(LIMIT, "reading and committing go on", async || {
        let ledger = group.ledger();
        (ledger.received, ledger.processed) == (102, 1)
    })
    .await;
    release.wait();
    let ledger = group.shutdown().await.unwrap();
    assert_eq!(ledger.processed, 102);
    workers.shutdown_background();
}
