//! The spill: messages that find the buffer full go to a stream and are read back, also by the next process.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::collections::HashSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redis::cmd;
use redis_consumer_group::{Builder, ConsumerGroup, Failure, Ledger, Message, Overflow, Processor, Record};
use support::{INPUT, LIMIT, OUTPUT, Server, eventually, judge, payload, publish_on, received};
use tokio::sync::Semaphore;
use tokio::time::sleep;

const SPILL: &str = "{messages:processed}:spill";
/// A buffer for the first few hundred messages.
const SMALL: usize = 64 << 10;

fn spilling<P: Processor>(builder: Builder<P>, buffer: usize) -> Builder<P> {
    builder.overflow(Overflow::Spill).buffer(buffer).max_payload(4096)
}

/// The record of a message of the usual form.
fn record(message: &Message) -> Record {
    let payload = std::str::from_utf8(message.payload()).unwrap();
    let id = payload.trim_start_matches(r#"{"message_id":""#).trim_end_matches(r#""}"#);
    Record::new().field("message_id", id)
}

/// A group whose processor takes this long.
fn that_takes(server: &Server, work: Duration) -> Builder<impl Processor + use<>> {
    server.group().processor(move |_, message: Message| async move {
        sleep(work).await;
        Ok::<_, Failure>(record(&message))
    })
}

/// A group whose processor takes a token from the gate before each message.
fn behind_a_gate(server: &Server, gate: &Arc<Semaphore>) -> Builder<impl Processor + use<>> {
    let gate = gate.clone();
    server.group().processor(move |_, message: Message| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, Failure>(record(&message))
        }
    })
}

/// Checks that both sides of the ledger are equal.
fn assert_adds_up(ledger: &Ledger) {
    let ends = ledger.processed + ledger.rejected + ledger.dropped + ledger.abandoned;
    let ends = ends + ledger.fenced + ledger.spilled;
    assert_eq!(ledger.received + ledger.read_back, ends, "{ledger:?}");
}

/// Waits until no message is in flight and the spill is empty.
async fn drained(server: &Server, group: &ConsumerGroup, limit: Duration) {
    eventually(limit, "everything is out of the spill", async || {
        group.ledger().in_flight() == 0 && server.length(SPILL).await == 0
    })
    .await;
    assert_eq!(group.ledger().in_flight(), 0, "{}", group.ledger());
}

/// Publishes many times what the buffer holds, and stops and restarts the group half way.
async fn a_burst_and_a_restart(messages: usize, buffer: usize, limit: Duration) {
    let server = Server::start().await;
    // The server must not disconnect a slow subscriber: that is not what this test is about.
    let mut unlimited = cmd("CONFIG");
    unlimited.arg(&["SET", "client-output-buffer-limit", "pubsub 0 0 0"]);
    unlimited.exec_async(&mut server.connection().await).await.unwrap();
    let group =
        async || spilling(that_takes(&server, Duration::from_millis(1)), buffer).consumers(64).start().await;
    let first = group().await.unwrap();
    let published = server.publish(messages).await;
    eventually(limit, "all are received, and half are processed", async || {
        let ledger = first.ledger();
        ledger.received == messages as u64 && ledger.processed >= messages as u64 / 2
    })
    .await;
    let first = first.shutdown().await.unwrap();
    assert_adds_up(&first);
    assert_eq!((first.dropped, first.abandoned, first.gaps.count), (0, 0, 0), "{first}");
    assert!(first.spilled > messages as u64 / 4, "{first}");
    let left = first.in_the_spill();
    assert!(left > 0, "{first}");
    assert_eq!(server.length(SPILL).await as i64, left);
    assert!(first.to_string().contains(&format!(" + in the spill {left}; ")), "{first}");

    let second = group().await.unwrap();
    drained(&server, &second, limit).await;
    let second = second.shutdown().await.unwrap();
    assert_adds_up(&second);
    let expected =
        format!("received 0 + from the spill {left} = processed {left} + rejected 0 + dropped 0; no gaps");
    assert_eq!(second.to_string(), expected);
    judge(&published, &server.output().await).assert_flawless();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_larger_than_the_buffer_is_processed_once_even_across_a_restart() {
    a_burst_and_a_restart(100_000, 1 << 20, Duration::from_secs(60)).await;
}

mod long {
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes more than a minute; scripts/test --long runs it"]
    async fn a_burst_of_a_million_is_processed_once_even_across_a_restart() {
        super::a_burst_and_a_restart(1_000_000, 8 << 20, Duration::from_secs(600)).await;
    }
}

#[tokio::test]
async fn spilled_messages_come_back_in_the_order_of_publishing() {
    let server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let group = spilling(behind_a_gate(&server, &gate), SMALL).consumers(1).start().await.unwrap();
    let published = server.publish(5_000).await;
    received(&group, published.len()).await;
    eventually(LIMIT, "most of it is spilled", async || group.ledger().spilled > 4_000).await;
    gate.add_permits(published.len());
    drained(&server, &group, LIMIT).await;
    let ledger = group.shutdown().await.unwrap();
    assert_adds_up(&ledger);
    assert_eq!((ledger.processed, ledger.read_back), (5_000, ledger.spilled), "{ledger:?}");
    let output = server.output().await;
    let order: Vec<_> = output.iter().map(|entry| entry.text("message_id").unwrap()).collect();
    assert_eq!(order, published);
}

#[tokio::test]
async fn a_spilled_message_keeps_the_channel_it_was_published_to() {
    let server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let group = server.group().processor({
        let gate = gate.clone();
        move |_, message: Message| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok::<_, Failure>(Record::new().field("channel", message.channel()))
            }
        }
    });
    let group = spilling(group, SMALL).start().await.unwrap();
    server.publish(1_000).await;
    eventually(LIMIT, "some of it is spilled", async || group.ledger().spilled > 0).await;
    gate.add_permits(1_000);
    received(&group, 1_000).await;
    drained(&server, &group, LIMIT).await;
    group.shutdown().await.unwrap();
    let output = server.output().await;
    assert!(output.len() == 1_000 && output.iter().all(|entry| entry.text("channel") == Some(INPUT)));
}

#[tokio::test]
async fn messages_that_find_the_spill_full_are_dropped_and_counted() {
    let server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let group = spilling(behind_a_gate(&server, &gate), SMALL).spill_max(1_000).start().await.unwrap();
    let published = server.publish(10_000).await;
    received(&group, published.len()).await;
    eventually(LIMIT, "the spill is full", async || group.ledger().dropped > 0).await;
    gate.add_permits(published.len());
    drained(&server, &group, LIMIT).await;
    let ledger = group.shutdown().await.unwrap();
    assert_adds_up(&ledger);
    assert_eq!(ledger.received, ledger.processed + ledger.dropped, "{ledger:?}");
    assert!((900..=1_100).contains(&ledger.spilled), "{ledger:?}");
    let judgement = judge(&published, &server.output().await);
    assert_eq!(judgement.lost.len() as u64, ledger.dropped, "{ledger:?}");
    assert_eq!((judgement.doubled.len(), judgement.strange.len()), (0, 0));
}

#[tokio::test]
async fn messages_are_dropped_and_counted_while_redis_has_no_memory_for_the_spill() {
    let server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let group = spilling(behind_a_gate(&server, &gate), SMALL).start().await.unwrap();
    let mut published = server.publish(2_000).await;
    eventually(LIMIT, "some of it is spilled", async || group.ledger().spilled > 1_000).await;

    server.run::<()>("CONFIG SET maxmemory 1").await;
    // About ten thousand messages are in memory on their way to the spill.
    eventually(LIMIT, "some of it is dropped", async || {
        published.extend(server.publish(10_000).await);
        received(&group, published.len()).await;
        group.ledger().dropped > 0
    })
    .await;

    server.run::<()>("CONFIG SET maxmemory 0").await;
    let spilled = group.ledger().spilled;
    eventually(LIMIT, "it spills again", async || {
        published.extend(server.publish(10).await);
        group.ledger().spilled > spilled
    })
    .await;
    received(&group, published.len()).await;
    gate.add_permits(published.len());
    drained(&server, &group, LIMIT).await;
    let ledger = group.shutdown().await.unwrap();
    assert_adds_up(&ledger);
    assert_eq!(ledger.received, published.len() as u64, "{ledger:?}");
    assert_eq!(ledger.received, ledger.processed + ledger.dropped, "{ledger:?}");
    let judgement = judge(&published, &server.output().await);
    assert_eq!(judgement.lost.len() as u64, ledger.dropped, "{ledger:?}");
    assert_eq!((judgement.doubled.len(), judgement.strange.len()), (0, 0));
}

#[tokio::test]
async fn messages_that_are_deleted_with_the_spill_are_counted_as_lost() {
    let server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let group = spilling(behind_a_gate(&server, &gate), SMALL).start().await.unwrap();
    let published = server.publish(5_000).await;
    received(&group, published.len()).await;
    eventually(LIMIT, "most of it is spilled", async || group.ledger().spilled > 4_000).await;
    server.run::<()>(&format!("DEL {SPILL}")).await;
    gate.add_permits(published.len());
    eventually(LIMIT, "it is noticed", async || group.ledger().spill_lost > 0).await;
    drained(&server, &group, LIMIT).await;
    let ledger = group.shutdown().await.unwrap();
    assert_adds_up(&ledger);
    assert_eq!(ledger.in_the_spill(), 0, "{ledger}");
    let judgement = judge(&published, &server.output().await);
    assert_eq!(judgement.lost.len() as u64, ledger.spill_lost + ledger.fenced, "{ledger}");
}

/// The variable with the URL of the other process's server.
const URL: &str = "RCG_SPILL_SERVER";

/// Not a test: a process that spills, and that the test below kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is the other process of the test below, which starts it"]
async fn the_other_process() {
    let group = ConsumerGroup::builder(std::env::var(URL).unwrap())
        .processor(|_, _| std::future::pending::<Result<Record, Failure>>());
    let mut group = spilling(group, SMALL).lease(Duration::from_secs(1)).start().await.unwrap();
    group.join().await.unwrap();
}

/// The child process. Killed at the latest when the test ends.
struct Other(Child);

impl Other {
    fn start(server: &Server) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "the_other_process"]).env(URL, server.url());
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn the_next_process_processes_what_a_killed_process_spilled() {
    let server = Server::start().await;
    let other = Other::start(&server);
    eventually(LIMIT, "it is subscribed", async || {
        server.run::<(String, u64)>(&format!("PUBSUB NUMSUB {INPUT}")).await.1 == 1
    })
    .await;
    let mut published = server.publish(5_000).await;
    let last = payload(published.last().unwrap());
    eventually(LIMIT, "the last one is in the spill", async || {
        server.entries(SPILL).await.last().is_some_and(|entry| entry.text("payload") == Some(&last))
    })
    .await;
    drop(other);
    let spilled = server.entries(SPILL).await;
    let payloads: HashSet<_> = spilled.iter().map(|entry| entry.text("payload").unwrap()).collect();
    published.retain(|id| payloads.contains(payload(id).as_str()));
    assert!(published.len() > 4_000 && spilled.len() == published.len());

    let next = spilling(that_takes(&server, Duration::ZERO), SMALL).lease(Duration::from_secs(1));
    let next = next.start().await.unwrap();
    drained(&server, &next, LIMIT).await;
    let ledger = next.shutdown().await.unwrap();
    assert_adds_up(&ledger);
    assert_eq!(
        (ledger.read_back, ledger.processed),
        (spilled.len() as u64, spilled.len() as u64),
        "{ledger:?}"
    );
    judge(&published, &server.output().await).assert_flawless();
}

#[tokio::test]
async fn the_spill_does_not_delay_messages_that_are_published_meanwhile() {
    let server = Server::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let group = spilling(behind_a_gate(&server, &gate), SMALL).start().await.unwrap();
    let mut published = server.publish(5_000).await;
    received(&group, published.len()).await;
    eventually(LIMIT, "most of it is spilled", async || group.ledger().spilled > 4_000).await;
    gate.add_permits(2 * published.len());
    published.extend(publish_on(&mut server.connection().await, INPUT, 1_000).await);
    received(&group, published.len()).await;
    drained(&server, &group, LIMIT).await;
    let ledger = group.shutdown().await.unwrap();
    assert_adds_up(&ledger);
    assert_eq!((ledger.processed, ledger.dropped), (6_000, 0), "{ledger:?}");
    assert_eq!(server.length(OUTPUT).await, 6_000);
    judge(&published, &server.output().await).assert_flawless();
}
