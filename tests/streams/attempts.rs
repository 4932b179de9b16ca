//! Entries that fail: how often and when they are tried, and where they end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_consumer_group::{Builder, Consumer, Failure, Message, Processor, Record, Replay, Trim};
use tokio::time::{Instant, sleep};

use crate::fixture::{GROUP, append, assert_nothing_left_behind, drained, group_at, holders, pending, soon};
use crate::process::Process;
use crate::support::{INPUT, LIMIT, OUTPUT, REJECTED, Server, judge, settled};

/// When each message was tried, and which attempt it was.
type Tries = Arc<Mutex<HashMap<String, Vec<(Instant, u32)>>>>;

/// A processor that fails with messages of this id.
fn failing_with<P: Processor>(
    builder: Builder<P>,
    bad: &'static str,
    tries: &Tries,
) -> Builder<impl Processor> {
    let tries = tries.clone();
    builder.processor(move |_: Consumer, message: Message| {
        let id = id_of(&message);
        let now = (Instant::now(), message.attempt());
        tries.lock().unwrap().entry(id.clone()).or_default().push(now);
        async move {
            if id == bad {
                Err(Failure::try_again("it is bad"))
            } else {
                Ok(Record::new().field("message_id", id))
            }
        }
    })
}

fn id_of(message: &Message) -> String {
    let (_, id) = message.fields().find(|(field, _)| *field == b"message_id").unwrap();
    String::from_utf8(id.to_vec()).unwrap()
}

/// How often the only pending entry was delivered, by the count of Redis.
async fn deliveries(server: &Server) -> Option<u64> {
    let rows: Vec<(String, String, u64, u64)> = server.run(&format!("XPENDING {INPUT} {GROUP} - + 10")).await;
    assert!(rows.len() <= 1, "{rows:?}");
    rows.first().map(|row| row.3)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_fails_is_retried_with_backoff_and_delays_no_other() {
    let server = Server::start().await;
    let tries = Tries::default();
    let group =
        failing_with(group_at(&server).consumers(1).max_attempts(4), "0", &tries).start().await.unwrap();
    let sent = append(&server, 0..50).await;
    settled(&group, sent.len()).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.rejected), (49, 1), "{ledger}");
    assert_nothing_left_behind(&server).await;

    let tries = tries.lock().unwrap().clone();
    let (at, attempts): (Vec<_>, Vec<_>) = tries["0"].iter().copied().unzip();
    assert_eq!(attempts, [1, 2, 3, 4]);
    for (pair, least) in at.windows(2).zip([100, 200, 400]) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(least),
            "{:?} after {least} ms",
            pair[1] - pair[0]
        );
    }
    // There is only one consumer, and it starts all other messages before the third attempt of the failing one.
    assert!((1..50).all(|id| tries[&id.to_string()][0].0 < at[2]), "{tries:?}");
    judge(&sent[1..], &server.output().await).assert_flawless();
    let rejected = server.rejected().await;
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0].text("error"), Some("gave up after 4 attempts: it is bad"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_counted_across_restarts() {
    let server = Server::start().await;
    append(&server, 0..1).await;
    let tries = Tries::default();
    for round in 1..=3 {
        let group = failing_with(group_at(&server).max_attempts(6), "0", &tries).start().await.unwrap();
        if round < 3 {
            soon("it is tried again", async || deliveries(&server).await >= Some(2 * round)).await;
            // An abort, as if the process died: a stop would make all remaining attempts.
            group.abort();
            drop(group);
            soon("it has gone", async || {
                !server.keys().await.iter().any(|key| key.contains(":token:"))
                    && server.ids().await.is_empty()
            })
            .await;
        } else {
            settled(&group, 1).await;
            let ledger = group.shutdown().await.unwrap();
            assert_eq!((ledger.taken_over, ledger.rejected), (1, 1), "{ledger}");
        }
    }
    let attempts: Vec<_> = tries.lock().unwrap()["0"].iter().map(|(_, attempt)| *attempt).collect();
    // An attempt that begins while its group ends may not reach the processor, or may not be counted.
    assert!(attempts.is_sorted() && attempts.last() == Some(&6), "{attempts:?}");
    assert!((5..=8).contains(&attempts.len()), "{attempts:?}");
    assert_eq!(server.rejected().await.len(), 1);
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_kills_its_process_each_time_is_the_only_one_rejected() {
    let server = Server::start().await;
    let sent = append(&server, 0..300).await;
    let entries = server.entries(INPUT).await;
    let (deadly, id) = ("137", entries[137].id.clone());
    let mut processes = Vec::new();
    let mut deaths = 0;
    let deadline = Instant::now() + 3 * LIMIT;
    while server.length(OUTPUT).await + server.length(REJECTED).await < sent.len() {
        assert!(Instant::now() < deadline, "after {deaths} deaths");
        let before = processes.len();
        processes.retain_mut(|process: &mut Process| !process.has_ended());
        deaths += before - processes.len();
        while processes.len() < 2 {
            processes.push(Process::that_dies_of(&server.url(), deadly));
        }
        sleep(Duration::from_millis(20)).await;
    }
    drained(&server, sent.len(), LIMIT).await;
    soon("only those that live are in the group", async || holders(&server).await.len() <= 2).await;
    soon("so it is with the ids", async || server.ids().await.len() == 2).await;
    for process in processes {
        process.stop().await;
    }
    assert_eq!(deaths, 5);
    let rejected = server.rejected().await;
    assert_eq!(rejected.len(), 1, "{rejected:?}");
    let fields = ["message_id", "error", "source", "source_id"].map(|field| rejected[0].text(field).unwrap());
    let error = "gave up after 5 attempts: no process finished it";
    assert_eq!(fields, [deadly, error, INPUT, &id]);
    let others: Vec<_> = sent.into_iter().filter(|other| other != deadly).collect();
    judge(&others, &server.output().await).assert_flawless();
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rejected_entry_keeps_its_fields_and_a_rejected_payload_stays_a_payload() {
    let server = Server::start().await;
    let group = group_at(&server)
        .processor(async |_: Consumer, _: Message| Err::<Record, _>(Failure::reject("no use")))
        .start()
        .await
        .unwrap();
    let with_fields: String =
        server.run(&format!("XADD {INPUT} * message_id 7 colour red colour blue")).await;
    let with_payload: String = server.run(&format!("XADD {INPUT} * payload not-JSON")).await;
    settled(&group, 2).await;
    let consumers: Vec<_> =
        group.handle().consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
    group.shutdown().await.unwrap();
    let mut rejected: HashMap<_, _> = HashMap::new();
    for entry in server.rejected().await {
        let mut fields: Vec<_> = entry
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), String::from_utf8(value.clone()).unwrap()))
            .collect();
        assert_eq!(fields.pop().unwrap(), ("attempts".to_owned(), "1".to_owned()));
        let id = fields.pop().unwrap();
        assert_eq!(id.0, "source_id");
        assert!(consumers.iter().any(|consumer| entry.text("consumer_id") == Some(consumer)));
        fields.retain(|(name, _)| name != "consumer_id");
        rejected.insert(id.1, fields);
    }
    let of = |fields: &[(&str, &str)]| -> Vec<_> {
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let why = [("error", "no use"), ("source", INPUT)];
    let first = [&[("message_id", "7"), ("colour", "red"), ("colour", "blue")], &why[..]].concat();
    let second = [&[("payload", "not-JSON")], &why[..]].concat();
    assert_eq!(rejected, HashMap::from([(with_fields, of(&first)), (with_payload, of(&second))]));
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_the_payload_field_is_rejected_again_when_it_is_replayed() {
    fn texts<P: Processor>(builder: Builder<P>) -> Builder<impl Processor> {
        builder.processor(|_, message| async move { Ok(Record::new().field("text", message.text()?)) })
    }
    let server = Server::start().await;
    let group = texts(group_at(&server)).start().await.unwrap();
    let _: String = server.run(&format!("XADD {INPUT} * colour red size 7")).await;
    settled(&group, 1).await;
    assert_eq!(group.shutdown().await.unwrap().rejected, 1);
    let mut replay = texts(group_at(&server)).replay(Replay::all()).start().await.unwrap();
    let ledger = replay.join().await.unwrap();
    assert_eq!((ledger.received, ledger.processed, ledger.rejected), (1, 0, 1), "{ledger}");
    assert_eq!((server.length(OUTPUT).await, server.length(REJECTED).await), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_source_id_adds_the_id_of_the_entry_and_payload_field_names_the_payload() {
    let server = Server::start().await;
    let group = group_at(&server).with_source_id(true).payload_field("json").start().await.unwrap();
    let in_payload: String = server.run(&format!(r#"XADD {INPUT} * json {{"message_id":"a"}}"#)).await;
    let in_fields: String = server.run(&format!("XADD {INPUT} * message_id b")).await;
    settled(&group, 2).await;
    group.shutdown().await.unwrap();
    let output = server.output().await;
    let found: HashMap<_, _> = output
        .iter()
        .map(|entry| (entry.text("message_id").unwrap(), entry.text("source_id").unwrap()))
        .collect();
    assert_eq!(found, HashMap::from([("a", &*in_payload), ("b", &*in_fields)]));
    assert!(output.iter().all(|entry| entry.text("consumer_id").is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_entries_that_all_groups_have_acknowledged_are_trimmed() {
    let server = Server::start().await;
    let sent = append(&server, 0..1000).await;
    let entries = server.entries(INPUT).await;
    // Another group has read half of the entries and left one of them pending.
    server.run::<()>(&format!("XGROUP CREATE {INPUT} others 0")).await;
    let read = format!("XREADGROUP GROUP others by-hand COUNT 500 STREAMS {INPUT} >");
    server.run::<redis::Value>(&read).await;
    for entry in entries[..500].iter().filter(|entry| entry.id != entries[300].id) {
        server.run::<()>(&format!("XACK {INPUT} others {}", entry.id)).await;
    }
    let group = group_at(&server).trim(Trim::Acknowledged).start().await.unwrap();
    settled(&group, sent.len()).await;
    // Redis with `XTRIM … ACKED` also removes entries behind the pending one; the pending one stays in any case.
    let left = match trims_behind_pending(&server).await {
        true => [&entries[300..=300], &entries[500..]].concat(),
        false => entries[300..].to_vec(),
    };
    soon("what both have done is gone", async || server.length(INPUT).await == left.len()).await;
    // The group trims once a second, and removes nothing more.
    sleep(Duration::from_millis(2200)).await;
    assert_eq!(server.entries(INPUT).await, left);

    server.run::<()>(&format!("XACK {INPUT} others {}", entries[300].id)).await;
    soon("what the other group has not read stays", async || server.length(INPUT).await == 500).await;
    server.run::<()>(&format!("XGROUP DESTROY {INPUT} others")).await;
    soon("nobody wants the rest", async || server.length(INPUT).await == 0).await;
    assert_eq!(pending(&server).await, 0);
    let more = append(&server, 1000..1100).await;
    settled(&group, 1100).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.trimmed, ledger.trimmed_unknown), (1100, 0, 0), "{ledger}");
    judge(&[sent, more].concat(), &server.output().await).assert_flawless();
}

/// Whether the server supports `XTRIM … ACKED`, as Redis 8.2 and later do.
async fn trims_behind_pending(server: &Server) -> bool {
    let mut trim = redis::cmd("XTRIM");
    trim.arg(&["a-stream", "MINID", "=", "0", "ACKED"]);
    match trim.query_async::<u64>(&mut server.connection().await).await {
        Ok(_) => true,
        Err(error) => {
            assert!(error.to_string().contains("syntax"), "{error}");
            false
        }
    }
}
