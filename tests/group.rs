//! A running group seen from outside: what it appends, which ids it has, and what remains after it.

mod support;

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use redis_consumer_group::{Failure, Record};
use support::{IDS, INPUT, LIMIT, OUTPUT, Server, eventually, ids_of, judge, publish_on, received, settled};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

#[tokio::test]
async fn each_message_is_appended_once_with_the_id_of_a_consumer() {
    let server = Server::start().await;
    let group = server.group().consumers(4).start().await.unwrap();
    let published = server.publish(5_000).await;
    settled(&group, published.len()).await;
    let consumers = ids_of(&group);
    let ledger = group.shutdown().await.unwrap();
    let entries = server.output().await;
    judge(&published, &entries).assert_flawless();
    assert!(entries.iter().all(|entry| consumers.iter().any(|id| entry.text("consumer_id") == Some(id))));
    assert_eq!(ledger.to_string(), "received 5000 = processed 5000 + rejected 0 + dropped 0; no gaps");
}

#[tokio::test]
async fn the_ids_are_in_their_list_in_order_before_the_first_message() {
    let server = Arc::new(Server::start().await);
    server.run::<()>(&format!("RPUSH {IDS} another-program")).await;
    let found: Arc<Mutex<Option<Vec<String>>>> = Arc::default();
    let publisher = tokio::spawn({
        let server = server.clone();
        async move {
            let mut connection = server.connection().await;
            loop {
                publish_on(&mut connection, INPUT, 1).await;
            }
        }
    });
    let group = server
        .group()
        .consumers(60)
        .processor({
            let (server, found) = (server.clone(), found.clone());
            move |_, _| {
                let (server, found) = (server.clone(), found.clone());
                async move {
                    let ids = server.ids().await;
                    found.lock().unwrap().get_or_insert(ids);
                    Ok::<_, Failure>(None::<Record>)
                }
            }
        })
        .start()
        .await
        .unwrap();
    received(&group, 1).await;
    publisher.abort();
    settled(&group, 1).await;
    let mut expected = ids_of(&group);
    expected.insert(0, "another-program".to_owned());
    assert_eq!(found.lock().unwrap().as_ref(), Some(&expected));

    group.shutdown().await.unwrap();
    assert_eq!(server.ids().await, ["another-program"]);
}

#[tokio::test]
async fn a_clean_stop_leaves_only_the_output() {
    let server = Server::start().await;
    let group = server.group().start().await.unwrap();
    let published = server.publish(100).await;
    settled(&group, published.len()).await;
    server.publish_payload("no JSON").await;
    settled(&group, 101).await;
    assert!(server.keys().await.len() > 2, "a group keeps its ids and numbers while it runs");
    group.shutdown().await.unwrap();
    assert_eq!(server.keys().await, [OUTPUT, "messages:rejected"]);
    eventually(LIMIT, "the connections are closed", async || server.connections_of_groups().await.is_empty())
        .await;
}

#[tokio::test]
async fn one_consumer_keeps_the_order() {
    let server = Server::start().await;
    let group = server.group().consumers(1).start().await.unwrap();
    let published = server.publish(5_000).await;
    group.shutdown().await.unwrap();
    let entries = server.output().await;
    let appended: Vec<_> = entries.iter().filter_map(|entry| entry.text("message_id")).collect();
    assert_eq!(appended, published);
}

#[tokio::test]
async fn an_observer_gets_every_append_in_the_order_of_the_stream() {
    let server = Server::start().await;
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let listener = told.clone();
    let group = server
        .group()
        .consumers(1)
        .on_append(move |appended| {
            assert!((1..=256).contains(&appended.len()));
            let ids =
                appended.records().filter_map(|mut fields| fields.find(|(name, _)| *name == b"message_id"));
            let ids = ids.map(|(_, id)| String::from_utf8(id.to_vec()).unwrap());
            listener.lock().unwrap().extend(ids);
        })
        .start()
        .await
        .unwrap();
    let published = server.publish(1_000).await;
    group.shutdown().await.unwrap();
    assert_eq!(*told.lock().unwrap(), published);
}

#[tokio::test]
async fn a_hook_that_panics_does_not_end_the_group() {
    let server = Server::start().await;
    let group = server.group().on_append(|_| panic!("a hook of the test")).start().await.unwrap();
    let published = server.publish(100).await;
    settled(&group, published.len()).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!(ledger.processed, 100, "{ledger}");
    judge(&published, &server.output().await).assert_flawless();
}

#[tokio::test]
async fn no_consumer_is_idle_while_messages_wait() {
    const EACH: Duration = Duration::from_millis(100);
    let server = Server::start().await;
    let spans: Arc<Mutex<Vec<(usize, Instant, Instant)>>> = Arc::default();
    let group = server
        .group()
        .consumers(4)
        .processor({
            let spans = spans.clone();
            move |consumer, _| {
                let spans = spans.clone();
                async move {
                    let start = Instant::now();
                    sleep(EACH).await;
                    spans.lock().unwrap().push((consumer.index(), start, Instant::now()));
                    Ok::<_, Failure>(Record::new().field("done", "1"))
                }
            }
        })
        .start()
        .await
        .unwrap();
    server.publish(8).await;
    settled(&group, 8).await;
    {
        let spans = spans.lock().unwrap();
        for consumer in 0..4 {
            let share = spans.iter().filter(|(index, ..)| *index == consumer).count();
            assert_eq!(share, 2, "consumer {consumer}");
        }
        let first = spans.iter().map(|(_, start, _)| *start).min().unwrap();
        let took = spans.iter().map(|(.., end)| *end).max().unwrap() - first;
        // Two rounds, with a margin for a busy machine.
        assert!((2 * EACH..4 * EACH).contains(&took), "{took:?}");
    }
    assert_eq!(server.length(OUTPUT).await, 8);
}

#[tokio::test]
async fn a_consumer_continues_before_its_last_commit_is_confirmed() {
    let server = Server::start().await;
    let (gate, calls) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let group = server
        .group()
        .consumers(1)
        .processor({
            let (gate, calls) = (gate.clone(), calls.clone());
            move |_, message| {
                let (gate, calls) = (gate.clone(), calls.clone());
                async move {
                    calls.fetch_add(1, Ordering::Relaxed);
                    gate.acquire().await?.forget();
                    Ok::<_, Failure>(Record::new().bytes("message_id", &message.payload()[15..51]))
                }
            }
        })
        .start()
        .await
        .unwrap();
    let published = server.publish(10).await;
    received(&group, 10).await;
    server.freeze().unwrap();
    gate.add_permits(10);
    eventually(LIMIT, "all are processed", async || calls.load(Ordering::Relaxed) == 10).await;
    assert_eq!(group.ledger().processed, 0);
    server.thaw().unwrap();
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.gaps.count), (10, 0));
    judge(&published, &server.output().await).assert_flawless();
}

#[tokio::test]
async fn a_thousand_consumers_share_a_few_connections() {
    let server = Server::start().await;
    let group = server.group().consumers(1000).start().await.unwrap();
    assert_eq!(server.ids().await, ids_of(&group));
    let published = server.publish(5_000).await;
    settled(&group, published.len()).await;
    let connections = server.connections_of_groups().await;
    assert!((3..=8).contains(&connections.len()), "{connections:#?}");
    group.shutdown().await.unwrap();
    judge(&published, &server.output().await).assert_flawless();
    assert_eq!(server.keys().await, [OUTPUT]);
}

#[tokio::test]
async fn a_group_stops_by_itself_after_max_messages() {
    let server = Server::start().await;
    let mut group = server.group().max_messages(100).start().await.unwrap();
    server.publish(99).await;
    settled(&group, 99).await;
    assert!(timeout(Duration::from_millis(100), group.join()).await.is_err(), "it stopped too early");
    server.publish(1).await;
    let ledger = timeout(LIMIT, group.join()).await.unwrap().unwrap();
    assert_eq!((ledger.received, ledger.processed), (100, 100));
    assert_eq!(server.keys().await, [OUTPUT]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_loses_no_message_that_was_published_before_it() {
    let server = Server::start().await;
    let group = server.group().consumers(4).start().await.unwrap();
    let (published, done): (Arc<Mutex<Vec<String>>>, _) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let mut connection = server.connection().await;
    let publisher = tokio::spawn({
        let (published, done) = (published.clone(), done.clone());
        async move {
            while !done.load(Ordering::Relaxed) {
                let ids = publish_on(&mut connection, INPUT, 100).await;
                published.lock().unwrap().extend(ids);
            }
        }
    });
    eventually(LIMIT, "there is a load", async || published.lock().unwrap().len() >= 10_000).await;
    let before = published.lock().unwrap().len();
    let ledger = timeout(LIMIT, group.shutdown()).await.unwrap().unwrap();
    done.store(true, Ordering::Relaxed);
    publisher.await.unwrap();

    let published = published.lock().unwrap().clone();
    let entries = server.output().await;
    let all = judge(&published, &entries);
    assert_eq!((&all.doubled[..], &all.strange[..]), (&[][..], &[][..]));
    assert!(!all.lost.is_empty(), "the publisher ended before the group did");
    let before = judge(&published[..before], &entries);
    assert_eq!(before.lost, [""; 0]);
    assert_eq!((ledger.received, ledger.in_flight(), ledger.abandoned), (ledger.processed, 0, 0));
    assert_eq!(ledger.processed, entries.len() as u64);
}

#[tokio::test]
async fn a_dropped_group_ends_and_frees_its_ids() {
    let server = Server::start().await;
    let group = server.group().start().await.unwrap();
    let published = server.publish(10).await;
    settled(&group, published.len()).await;
    drop(group);
    eventually(LIMIT, "its ids and lanes are gone", async || server.keys().await == [OUTPUT]).await;
    eventually(LIMIT, "its connections are closed", async || server.connections_of_groups().await.is_empty())
        .await;
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing_behind() {
    let server = Server::start().await;
    let mut finished = 0;
    for limit in 0..20 {
        let start = server.group().consumers(60).start();
        finished += u32::from(timeout(Duration::from_millis(limit), start).await.is_ok());
    }
    eventually(LIMIT, "nothing is left", async || {
        server.keys().await.is_empty() && server.connections_of_groups().await.is_empty()
    })
    .await;
    assert!(finished < 20, "no start was given up");
}

#[tokio::test]
async fn a_start_that_is_cancelled_returns_when_nothing_is_left_behind() {
    let server = Server::start().await;
    let mut cancelled = 0;
    for limit in 0..20 {
        let until = sleep(Duration::from_millis(limit));
        match server.group().consumers(60).start_until(until).await.unwrap() {
            Some(group) => drop(group.shutdown().await.unwrap()),
            None => cancelled += 1,
        }
        assert!(server.keys().await.is_empty(), "cancelled after {limit} ms");
    }
    assert_ne!(cancelled, 0);
}

#[tokio::test]
async fn a_start_that_is_dropped_just_after_it_succeeded_leaves_nothing_behind() {
    let server = Server::start().await;
    let mut start = Box::pin(server.group().start());
    let is_pending = poll_fn(|context| Poll::Ready(start.as_mut().poll(context).is_pending())).await;
    assert!(is_pending, "it was ready at once");
    // From here on, the test does not poll the start.
    eventually(LIMIT, "it is subscribed", async || {
        server.run::<(String, u32)>(&format!("PUBSUB NUMSUB {INPUT}")).await.1 == 1
    })
    .await;
    // The confirmation arrives, but nothing shows when, so the test waits.
    sleep(Duration::from_millis(300)).await;
    drop(start);
    eventually(Duration::from_secs(5), "nothing is left", async || {
        server.keys().await.is_empty() && server.connections_of_groups().await.is_empty()
    })
    .await;
}

#[tokio::test]
async fn two_groups_on_one_channel_each_append_everything_and_keep_their_own_ids() {
    let server = Server::start().await;
    let one = server.group().consumers(2).start().await.unwrap();
    let other = server.group().consumers(2).start().await.unwrap();
    assert_eq!(server.ids().await, [ids_of(&one), ids_of(&other)].concat());
    let published = server.publish(1_000).await;
    settled(&one, published.len()).await;
    settled(&other, published.len()).await;
    one.shutdown().await.unwrap();
    assert_eq!(server.ids().await, ids_of(&other));
    let others_ids = ids_of(&other);
    other.shutdown().await.unwrap();

    let mut shares: HashMap<String, Vec<bool>> = HashMap::new();
    for entry in server.output().await {
        let by_other = others_ids.iter().any(|id| entry.text("consumer_id") == Some(id));
        shares.entry(entry.text("message_id").unwrap().to_owned()).or_default().push(by_other);
    }
    assert_eq!(shares.len(), published.len());
    assert!(shares.values().all(|by| *by == [true, false] || *by == [false, true]));
    assert_eq!(server.keys().await, [OUTPUT]);
}
