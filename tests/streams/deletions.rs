//! Other clients delete, trim and flush: the group continues without a restart, and its ledger counts missing entries.

use std::collections::HashSet;
use std::time::Duration;

use redis_consumer_group::{Begin, Consumer, ConsumerGroup, Error, Failure, Ledger, Message, SourceKind};
use redis_private_server::PrivateServer;
use tokio::time::{sleep, timeout};

use crate::fixture::{
    GROUP, append, assert_nothing_left_behind, drained, gate, gated, group_at, pending, record_with_id, soon,
};
use crate::line::{Condition, Line};
use crate::support::{INPUT, LIMIT, OUTPUT, Server, judge, settled};

/// Checks that entries appended from now on are processed, each once.
async fn goes_on(server: &Server, group: &ConsumerGroup, ids: std::ops::Range<usize>) {
    let sent: HashSet<_> = append(server, ids).await.into_iter().collect();
    soon("the group goes on", async || {
        let output = server.output().await;
        let found: Vec<_> = output.iter().filter_map(|entry| entry.text("message_id")).collect();
        let found: Vec<_> = found.into_iter().filter(|id| sent.contains(*id)).collect();
        assert!(found.len() <= sent.len(), "some are doubled; {}", group.ledger());
        found.len() == sent.len()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_continues_after_a_flush_of_everything_under_load() {
    let server = Server::start().await;
    let group = group_at(&server)
        .consumers(4)
        .processor(async |_: Consumer, message: Message| {
            sleep(Duration::from_millis(1)).await;
            Ok::<_, Failure>(record_with_id(&message))
        })
        .start()
        .await
        .unwrap();
    for round in 1..=3 {
        append(&server, 0..2000).await;
        soon("it is in the middle of it", async || server.length(OUTPUT).await > 200).await;
        server.run::<()>("FLUSHALL").await;
        goes_on(&server, &group, round * 10_000..round * 10_000 + 300).await;
        assert_eq!(group.ledger().group_lost, round as u64, "{}", group.ledger());
    }
    soon("its ids are back", async || server.ids().await.len() == 4).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.in_flight(), ledger.abandoned, ledger.rejected), (0, 0, 0), "{ledger}");
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_continues_after_its_stream_was_deleted_while_it_waited_or_worked() {
    let server = Server::start().await;
    let group = group_at(&server).start().await.unwrap();
    goes_on(&server, &group, 0..10).await;
    // The group waits for more entries.
    soon("nothing is under way", async || pending(&server).await == 0).await;
    server.run::<()>(&format!("DEL {INPUT}")).await;
    goes_on(&server, &group, 10..20).await;
    soon("the loss is counted", async || group.ledger().group_lost == 1).await;
    for round in 1..=5 {
        append(&server, 0..500).await;
        server.run::<()>(&format!("DEL {INPUT}")).await;
        goes_on(&server, &group, round * 1000..round * 1000 + 100).await;
    }
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.in_flight(), ledger.abandoned), (0, 0), "{ledger}");
    assert_eq!(ledger.group_lost, 6, "{ledger}");
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_destroyed_is_recreated_and_begins_at_the_configured_entry() {
    let server = Server::start().await;
    let group = group_at(&server).start().await.unwrap();
    goes_on(&server, &group, 0..10).await;
    soon("nothing is under way", async || pending(&server).await == 0).await;
    server.run::<()>(&format!("XGROUP DESTROY {INPUT} {GROUP}")).await;
    // The group reads the whole stream again, from the beginning.
    soon("it has read everything again", async || server.length(OUTPUT).await == 20).await;
    assert_eq!(group.ledger().group_lost, 1);
    goes_on(&server, &group, 10..20).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.abandoned), (30, 0), "{ledger}");
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_deleted_while_they_are_pending_are_counted() {
    let server = Server::start().await;
    append(&server, 0..20).await;
    let entries = server.entries(INPUT).await;
    // They are delivered to a process that ends without processing them.
    let gate = gate();
    let first = gated(group_at(&server).consumers(8), &gate).start().await.unwrap();
    soon("some are handed out", async || pending(&server).await >= 8).await;
    first.abort();
    drop(first);
    soon("it has gone", async || server.ids().await.is_empty()).await;
    for entry in &entries[..3] {
        server.run::<()>(&format!("XDEL {INPUT} {}", entry.id)).await;
    }
    let second = group_at(&server).start().await.unwrap();
    settled(&second, 17).await;
    soon("the deleted ones are counted", async || second.ledger().deleted == 3).await;
    let ledger = second.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.deleted, ledger.rejected), (17, 3, 0), "{ledger}");
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_deleted_while_they_are_processed_are_appended() {
    let server = Server::start().await;
    let gate = gate();
    let group = gated(group_at(&server).consumers(4), &gate).start().await.unwrap();
    let sent = append(&server, 0..4).await;
    soon("they are handed out", async || pending(&server).await == 4).await;
    for entry in server.entries(INPUT).await {
        server.run::<()>(&format!("XDEL {INPUT} {}", entry.id)).await;
    }
    gate.add_permits(1000);
    settled(&group, 4).await;
    goes_on(&server, &group, 4..10).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.deleted), (10, 0), "{ledger}");
    judge(
        &(sent.into_iter().chain((4..10).map(|id| id.to_string())).collect::<Vec<_>>()),
        &server.output().await,
    )
    .assert_flawless();
    assert_nothing_left_behind(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_trimmed_before_they_are_read_are_counted_one_by_one() {
    let server = Server::start().await;
    let gate = gate();
    let group = gated(group_at(&server).consumers(1), &gate).start().await.unwrap();
    let mut appended = 0;
    for _ in 0..3 {
        append(&server, appended..appended + 100).await;
        appended += 100;
        // The group fetches only a few more entries than its consumer can begin with.
        soon("one is being processed", async || group.ledger().in_flight() >= 1).await;
        let before = group.ledger().trimmed;
        server.run::<()>(&format!("XTRIM {INPUT} MAXLEN 10")).await;
        gate.add_permits(appended);
        soon("what is left is processed", async || {
            let ledger = group.ledger();
            ledger.in_flight() == 0 && ledger.processed + ledger.trimmed >= appended as u64
        })
        .await;
        assert!(group.ledger().trimmed > before, "{}", group.ledger());
        gate.forget_permits(usize::MAX);
    }
    // Trims the whole stream, before anything of it is read.
    append(&server, appended..appended + 100).await;
    appended += 100;
    soon("one is being processed", async || group.ledger().in_flight() >= 1).await;
    server.run::<()>(&format!("XTRIM {INPUT} MAXLEN 0")).await;
    gate.add_permits(1000);
    soon("the rest is counted", async || {
        let ledger = group.ledger();
        ledger.in_flight() == 0 && ledger.processed + ledger.trimmed >= appended as u64
    })
    .await;
    goes_on(&server, &group, appended..appended + 10).await;
    appended += 10;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!(ledger.processed as usize, server.length(OUTPUT).await);
    assert_eq!((ledger.processed + ledger.trimmed, ledger.trimmed_unknown), (appended as u64, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_an_input_or_output_that_is_not_a_stream_fails_and_reads_nothing() {
    let server = Server::start().await;
    for key in [INPUT, OUTPUT] {
        append(&server, 0..if key == OUTPUT { 10 } else { 0 }).await;
        server.run::<()>(&format!("SET {key} text")).await;
        let refused = group_at(&server).start().await.err();
        assert!(matches!(&refused, Some(Error::WrongType { key: named, .. }) if named == key), "{refused:?}");
        server.run::<()>(&format!("DEL {key}")).await;
    }
    let groups: Vec<redis::Value> = server.run(&format!("XINFO GROUPS {INPUT}")).await;
    assert_eq!(groups, [], "nothing was read");
    let leases = format!("{{{INPUT}}}:leases:{GROUP}");
    server.run::<()>(&format!("SET {leases} text")).await;
    let refused = group_at(&server).start().await.err();
    assert!(matches!(&refused, Some(Error::WrongType { key, .. }) if *key == leases), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_input_or_output_that_becomes_another_type_ends_the_group_and_nothing_is_lost() {
    for key in [INPUT, OUTPUT] {
        let server = Server::start().await;
        let mut group = group_at(&server).start().await.unwrap();
        goes_on(&server, &group, 0..10).await;
        soon("nothing is under way", async || pending(&server).await == 0).await;
        server.run::<()>(&format!("SET {key} text")).await;
        if key == OUTPUT {
            append(&server, 10..20).await;
        }
        let end = timeout(LIMIT, group.join()).await.unwrap();
        assert!(matches!(&end, Err(Error::WrongType { key: named, .. }) if named == key), "{end:?}");
        if key == OUTPUT {
            server.run::<()>(&format!("DEL {OUTPUT}")).await;
            let next = group_at(&server).start().await.unwrap();
            soon("the next one does what is left", async || server.length(OUTPUT).await == 10).await;
            let ledger = next.shutdown().await.unwrap();
            assert!(ledger.processed == 10 && ledger.taken_over >= 1, "{ledger}");
            assert_nothing_left_behind(&server).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_become_another_type_end_the_group() {
    let server = Server::start().await;
    let mut group = group_at(&server).start().await.unwrap();
    let leases = format!("{{{INPUT}}}:leases:{GROUP}");
    server.run::<()>(&format!("SET {leases} text")).await;
    let end = timeout(LIMIT, group.join()).await.unwrap();
    assert!(matches!(&end, Err(Error::WrongType { key, .. }) if *key == leases), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_reports_trimmed_entries_even_if_redis_does_not_know_how_many() {
    let server = Server::start().await;
    append(&server, 0..100).await;
    let entries = server.entries(INPUT).await;
    // For a group that begins in the middle, Redis does not know how many entries precede it.
    let begin = Begin::After(entries[9].id.parse().unwrap());
    let gate = gate();
    let group = gated(group_at(&server).consumers(1).begin_at(begin), &gate).start().await.unwrap();
    soon("one is being processed", async || pending(&server).await >= 1).await;
    server.run::<()>(&format!("XTRIM {INPUT} MAXLEN 10")).await;
    gate.add_permits(1000);
    soon("what is left is processed", async || {
        let ledger = group.ledger();
        ledger.processed >= 11 && pending(&server).await == 0
    })
    .await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.trimmed, ledger.trimmed_unknown), (0, 1), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_reports_trimmed_entries_without_a_number_after_others_deleted_entries() {
    let server = Server::start().await;
    let gate = gate();
    let group = gated(group_at(&server).consumers(1), &gate).start().await.unwrap();
    append(&server, 0..100).await;
    let entries = server.entries(INPUT).await;
    soon("the first one is being processed", async || group.ledger().in_flight() >= 1).await;
    // A deleted entry that was not read yet: Redis no longer knows how many entries precede the next one to be read.
    server.run::<()>(&format!("XDEL {INPUT} {}", entries[50].id)).await;
    let read = group.ledger().received;
    gate.add_permits(read as usize);
    soon("it has read on", async || group.ledger().received > read).await;
    server.run::<()>(&format!("XTRIM {INPUT} MAXLEN 10")).await;
    gate.add_permits(1000);
    soon("the last one is processed", async || {
        let output = server.output().await;
        output.last().is_some_and(|last| last.text("message_id") == Some("99")) && pending(&server).await == 0
    })
    .await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.trimmed, ledger.trimmed_unknown), (0, 1), "{ledger}");
    assert_nothing_left_behind(&server).await;
}

/// The ids of the connections with which the groups read.
async fn readers(server: &Server) -> Vec<u64> {
    let connections = server.connections_of_groups().await;
    let readers = connections.iter().filter(|line| line.contains("name=redis-consumer-group:reader"));
    readers.map(|line| line.split(['=', ' ']).nth(1).unwrap().parse().unwrap()).collect()
}

/// A read reaches the server after it was given up, while the only consumer is busy with the first of five entries.
async fn a_read_comes_late(server: &Server, user: &str) -> Ledger {
    let line = Line::to(server.addr()).await;
    let gate = gate();
    let url = line.url().replace("://", &format!("://{user}"));
    let builder = ConsumerGroup::builder(url).source(SourceKind::Stream).consumers(1);
    // A long lease, so that the process does not count as dead meanwhile.
    let group = gated(builder.lease(Duration::from_secs(60)), &gate).start().await.unwrap();
    gate.add_permits(1);
    goes_on(server, &group, 99..100).await;
    let former = readers(server).await[0];
    line.set(Condition::Stuck);
    soon("it reads on a new connection", async || readers(server).await.iter().any(|id| *id != former)).await;
    let sent = append(server, 0..5).await;
    soon("its consumer is busy, and there is more", async || pending(server).await >= 1).await;
    line.set(Condition::Fair);
    soon("the server has heard the last of it", async || !readers(server).await.contains(&former)).await;
    gate.add_permits(100);
    drained(server, sent.len() + 1, LIMIT).await;
    let ledger = group.shutdown().await.unwrap();
    judge(&sent, server.output().await.iter().skip(1)).assert_flawless();
    assert_nothing_left_behind(server).await;
    ledger
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_arrives_after_it_was_given_up_takes_no_entry() {
    let server = Server::start().await;
    let ledger = a_read_comes_late(&server, "").await;
    assert_eq!((ledger.processed, ledger.fenced, ledger.taken_over), (6, 0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_a_late_read_are_taken_over_if_the_read_cannot_be_prevented() {
    let rules = "group on >secret ~* &* +@all -client|kill";
    let server = Server::start_with(PrivateServer::builder().acl_user(rules)).await;
    let ledger = a_read_comes_late(&server, "group:secret@").await;
    assert!(ledger.processed == 6 && ledger.taken_over >= 1, "{ledger}");
}
