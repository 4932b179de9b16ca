//! Which consumer gets which entries, with several groups of ours, other consumers in the same group, and other groups.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis_consumer_group::{Builder, Consumer, ConsumerGroup, Failure, Message, Processor, Record};
use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep};

use crate::fixture::{
    GROUP, LEASE, append, assert_nothing_left_behind, drained, group_at, holders, pending, soon,
};
use crate::process::Process;
use crate::support::{INPUT, LIMIT, OUTPUT, Server, judge, settled};

/// A processor that takes this long, and adds the number of the attempt to its record.
fn slowly<P: Processor>(builder: Builder<P>, work: Duration) -> Builder<impl Processor> {
    builder.processor(move |consumer: Consumer, message: Message| async move {
        sleep(work).await;
        Ok::<_, Failure>(record_of(&consumer, &message))
    })
}

fn record_of(consumer: &Consumer, message: &Message) -> Record {
    let (_, id) = message.fields().find(|(field, _)| *field == b"message_id").unwrap();
    let record = Record::new().bytes("message_id", id).field("consumer_id", consumer.id());
    record.field("attempt", message.attempt().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_slow_work_evenly() {
    let server = Server::start().await;
    let start = || slowly(group_at(&server).consumers(2), Duration::from_millis(100)).start();
    let (first, second) = (start().await.unwrap(), start().await.unwrap());
    let sent = append(&server, 0..100).await;
    drained(&server, sent.len(), LIMIT).await;
    let ledgers = [first.shutdown().await.unwrap(), second.shutdown().await.unwrap()];
    for ledger in &ledgers {
        assert!((40..=60).contains(&ledger.processed), "{ledger}");
        assert_eq!((ledger.taken_over, ledger.fenced), (0, 0), "{ledger}");
    }
    judge(&sent, &server.output().await).assert_flawless();
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_later_gets_its_share_of_the_remaining_entries() {
    let server = Server::start().await;
    let start = || slowly(group_at(&server).consumers(2), Duration::from_millis(50)).start();
    let sent = append(&server, 0..120).await;
    let first = start().await.unwrap();
    soon("the first one works", async || first.ledger().processed >= 20).await;
    let second = start().await.unwrap();
    let left = sent.len() as u64 - first.ledger().received;
    drained(&server, sent.len(), LIMIT).await;
    let ledger = second.shutdown().await.unwrap();
    assert!((left / 3..=left * 2 / 3).contains(&ledger.processed), "of {left}: {ledger}");
    first.shutdown().await.unwrap();
    judge(&sent, &server.output().await).assert_flawless();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_processor_that_takes_several_leases_keeps_its_entry_while_its_process_lives() {
    let server = Server::start().await;
    let started = Arc::new(AtomicUsize::new(0));
    let start = || {
        let started = started.clone();
        group_at(&server)
            .consumers(1)
            .processor(move |consumer: Consumer, message: Message| {
                started.fetch_add(1, Ordering::SeqCst);
                async move {
                    sleep(4 * LEASE).await;
                    Ok::<_, Failure>(record_of(&consumer, &message))
                }
            })
            .start()
    };
    let (first, second) = (start().await.unwrap(), start().await.unwrap());
    let sent = append(&server, 0..2).await;
    drained(&server, sent.len(), LIMIT).await;
    judge(&sent, &server.output().await).assert_flawless();
    assert_eq!(started.load(Ordering::SeqCst), 2);
    for group in [first, second] {
        let ledger = group.shutdown().await.unwrap();
        assert_eq!((ledger.processed, ledger.taken_over, ledger.fenced), (1, 0, 0), "{ledger}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_a_killed_process_are_taken_over_within_the_lease() {
    // Tolerance for a busy machine.
    const SLACK: Duration = Duration::from_millis(1500);
    let server = Server::start().await;
    let sent = append(&server, 0..4).await;
    let mut killed = Process::that_works_for(&server.url(), Duration::from_secs(60));
    soon("it holds all entries", async || pending(&server).await == sent.len()).await;
    let heir = slowly(group_at(&server).consumers(4), Duration::ZERO).start().await.unwrap();
    soon("it has begun", async || server.ids().await.len() == 8).await;
    sleep(LEASE).await;
    assert_eq!(heir.ledger().received, 0, "while it lives they are its own");
    killed.kill();
    let died = Instant::now();
    settled(&heir, sent.len()).await;
    let took = died.elapsed();
    assert!(took < LEASE + SLACK, "{took:?}");
    let output = server.output().await;
    judge(&sent, &output).assert_flawless();
    assert!(output.iter().all(|entry| entry.text("attempt") == Some("2")), "{output:?}");
    soon("the ids of the dead one are gone too", async || server.ids().await.len() == 4).await;
    let ledger = heir.shutdown().await.unwrap();
    assert_eq!((ledger.received, ledger.taken_over, ledger.processed), (4, 4, 4), "{ledger}");
    assert_eq!(server.ids().await, [] as [String; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_suspended_drops_entries_that_others_took_over_and_continues() {
    let server = Server::start().await;
    let sleeper = Process::that_works_for(&server.url(), Duration::from_millis(300));
    soon("it has begun", async || server.ids().await.len() == 4).await;
    let mut sent = append(&server, 0..4).await;
    soon("it holds all entries", async || pending(&server).await == 4).await;
    sleeper.freeze();
    let heir = slowly(group_at(&server).consumers(2), Duration::ZERO).start().await.unwrap();
    settled(&heir, 4).await;
    let ledger = heir.shutdown().await.unwrap();
    assert_eq!(ledger.taken_over, 4, "{ledger}");
    sleeper.wake();
    sent.extend(append(&server, 4..8).await);
    drained(&server, 8, LIMIT).await;
    judge(&sent, &server.output().await).assert_flawless();
    sleeper.stop().await;
    assert_nothing_left_behind(&server).await;
}

/// Reads entries by hand, as another consumer.
async fn read_by_hand(server: &Server, count: usize) {
    server
        .run::<redis::Value>(&format!("XREADGROUP GROUP {GROUP} by-hand COUNT {count} STREAMS {INPUT} >"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_another_program_keeps_its_entries() {
    let server = Server::start().await;
    server.run::<()>(&format!("XGROUP CREATE {INPUT} {GROUP} 0 MKSTREAM")).await;
    let sent = append(&server, 0..30).await;
    read_by_hand(&server, 10).await;
    let group = group_at(&server).consumers(2).start().await.unwrap();
    soon("the others are processed", async || server.length(OUTPUT).await == 20).await;
    // Longer than any lease of ours. A group that takes over others' entries looks for them once a second.
    sleep(3 * LEASE).await;
    judge(&sent[10..], &server.output().await).assert_flawless();
    assert_eq!(holders(&server).await["by-hand"], 10);
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.taken_over), (20, 0), "{ledger}");
    assert_eq!(holders(&server).await, HashMap::from([("by-hand".to_owned(), 10)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_another_program_loses_idle_entries_if_that_is_configured() {
    let server = Server::start().await;
    server.run::<()>(&format!("XGROUP CREATE {INPUT} {GROUP} 0 MKSTREAM")).await;
    let sent = append(&server, 0..330).await;
    read_by_hand(&server, 300).await;
    let read = Instant::now();
    let after = Duration::from_secs(3);
    let start = || {
        slowly(group_at(&server).consumers(2).claim_foreign_after(after), Duration::from_millis(5)).start()
    };
    let groups: [ConsumerGroup; 2] = [start().await.unwrap(), start().await.unwrap()];
    soon("the others are processed", async || server.length(OUTPUT).await >= 30).await;
    assert!(read.elapsed() > after || server.length(OUTPUT).await == 30, "they are not idle yet");
    drained(&server, sent.len(), LIMIT).await;
    assert!(read.elapsed() > after, "{:?}", read.elapsed());
    let output = server.output().await;
    judge(&sent, &output).assert_flawless();
    let second = output.iter().filter(|entry| entry.text("attempt") == Some("2")).count();
    assert_eq!(second, 300);
    let mut taken_over = 0;
    for group in groups {
        taken_over += group.shutdown().await.unwrap().taken_over;
    }
    assert_eq!(taken_over, 300);
    assert_eq!(holders(&server).await, HashMap::from([("by-hand".to_owned(), 0)]), "it stays in the group");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_groups_of_the_stream_also_get_every_entry() {
    let server = Server::start().await;
    let sent = append(&server, 0..1000).await;
    let processors = group_at(&server).start().await.unwrap();
    let auditors = group_at(&server)
        .group("auditors")
        .output("messages:audited")
        .rejected("messages:not-audited")
        .start()
        .await
        .unwrap();
    server.run::<()>(&format!("XGROUP CREATE {INPUT} by-hand 0")).await;
    settled(&processors, sent.len()).await;
    settled(&auditors, sent.len()).await;
    for group in [processors, auditors] {
        let ledger = group.shutdown().await.unwrap();
        assert_eq!(ledger.processed, 1000, "{ledger}");
    }
    judge(&sent, &server.output().await).assert_flawless();
    judge(&sent, &server.entries("messages:audited").await).assert_flawless();
    assert_eq!(server.length(INPUT).await, 1000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_a_channel_does_not_disturb_a_group_of_a_stream() {
    // The same names for everything but input and output, so they share the list of ids.
    let server = Server::start_with(PrivateServer::builder()).await;
    let channel =
        server.group().input("channel").output("of-the-channel").lease(LEASE).start().await.unwrap();
    let stream = group_at(&server).start().await.unwrap();
    assert_eq!(server.ids().await.len(), 6);
    let sent = append(&server, 0..500).await;
    let published = crate::support::publish_on(&mut server.connection().await, "channel", 500).await;
    settled(&stream, 500).await;
    settled(&channel, 500).await;
    stream.shutdown().await.unwrap();
    assert_eq!(server.ids().await.len(), 3, "the other's stay");
    channel.shutdown().await.unwrap();
    judge(&sent, &server.output().await).assert_flawless();
    judge(&published, &server.entries("of-the-channel").await).assert_flawless();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_entry_is_begun_once_while_processes_start_and_stop_cleanly() {
    let server = Server::start().await;
    let sent = append(&server, 0..3000).await;
    let mut current: Option<ConsumerGroup> = None;
    while server.length(OUTPUT).await < sent.len() {
        let next = slowly(group_at(&server).consumers(8), Duration::from_millis(1)).start().await.unwrap();
        let before = server.length(OUTPUT).await;
        soon("they work", async || {
            let length = server.length(OUTPUT).await;
            length >= before + 300 || length == sent.len()
        })
        .await;
        if let Some(former) = current.replace(next) {
            let ledger = former.shutdown().await.unwrap();
            assert_eq!((ledger.abandoned, ledger.fenced), (0, 0), "{ledger}");
        }
    }
    current.unwrap().shutdown().await.unwrap();
    let output = server.output().await;
    judge(&sent, &output).assert_flawless();
    assert!(output.iter().all(|entry| entry.text("attempt") == Some("1")));
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_before_its_first_read_leaves_nothing_behind() {
    let server = Server::start().await;
    let mut killed = Process::start(&server.url());
    soon("it has its lease", async || {
        server.keys().await.iter().any(|key| key.starts_with("{messages:published}:token:"))
    })
    .await;
    killed.kill();
    let group = group_at(&server).start().await.unwrap();
    soon("only one of them is known", async || {
        let keys = server.keys().await;
        let count = |kind: &str| keys.iter().filter(|key| key.contains(kind)).count();
        // The lanes of the dead process are removed last. The other process has two for the output and one for rejected
        // messages.
        count(":token:") == 1 && server.ids().await.len() == 3 && count(":lane:") == 3
    })
    .await;
    group.shutdown().await.unwrap();
    assert_nothing_left_behind(&server).await;
}
