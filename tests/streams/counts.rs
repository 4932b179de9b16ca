//! The ledger's count of missing entries after the server has lost its count of the entries that were read.

use std::time::Duration;

use redis_consumer_group::{Consumer, Failure, Message, Record};
use redis_private_server::PrivateServer;
use tokio::time::{sleep, timeout};

use crate::fixture::{append, drained, group_at, pending, soon};
use crate::support::{INPUT, LIMIT, OUTPUT, Server, judge, settled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processed_entries_that_were_trimmed_do_not_count_as_lost_after_a_server_restart() {
    let mut server = Server::start_with(PrivateServer::builder().appendonly_always()).await;
    let group = group_at(&server).start().await.unwrap();
    append(&server, 0..1_000).await;
    settled(&group, 1_000).await;
    soon("all of it is acknowledged", async || pending(&server).await == 0).await;
    server.restart().await.unwrap();
    append(&server, 1_000..1_100).await;
    settled(&group, 1_100).await;
    server.run::<()>(&format!("XTRIM {INPUT} MAXLEN 0")).await;
    append(&server, 1_100..1_110).await;
    settled(&group, 1_110).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.trimmed, ledger.trimmed_unknown), (0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_starts_later_does_not_count_trimmed_entries_as_lost() {
    let mut server = Server::start_with(PrivateServer::builder().appendonly_always()).await;
    let first = group_at(&server).start().await.unwrap();
    append(&server, 0..1_000).await;
    settled(&first, 1_000).await;
    first.shutdown().await.unwrap();
    server.restart().await.unwrap();
    server.run::<()>(&format!("XTRIM {INPUT} MAXLEN 0")).await;
    append(&server, 1_000..1_010).await;
    let next = group_at(&server).start().await.unwrap();
    settled(&next, 10).await;
    let ledger = next.shutdown().await.unwrap();
    assert_eq!((ledger.trimmed, ledger.trimmed_unknown), (0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_are_trimmed_while_no_process_reads_are_counted_by_the_next_process() {
    let server = Server::start().await;
    // A server reports its uptime in whole seconds, possibly one too many, and the group needs a server that has been
    // up for longer than the age of its entries.
    sleep(Duration::from_millis(2_500)).await;
    let first = group_at(&server).start().await.unwrap();
    append(&server, 0..100).await;
    settled(&first, 100).await;
    first.shutdown().await.unwrap();
    append(&server, 100..200).await;
    server.run::<()>(&format!("XTRIM {INPUT} MAXLEN 30")).await;
    let next = group_at(&server).start().await.unwrap();
    settled(&next, 30).await;
    let ledger = next.shutdown().await.unwrap();
    assert_eq!((ledger.trimmed, ledger.trimmed_unknown), (70, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_processed_while_all_connections_are_closed_repeatedly() {
    let server = Server::start().await;
    let group = group_at(&server)
        .processor(async |_: Consumer, message: Message| {
            sleep(Duration::from_millis(2)).await;
            let (_, id) = message.fields().find(|(field, _)| *field == b"message_id").unwrap();
            Ok::<_, Failure>(Record::new().bytes("message_id", id))
        })
        .start()
        .await
        .unwrap();
    let sent = append(&server, 0..5_000).await;
    let closing = async {
        let mut connection = server.connection().await;
        loop {
            let mut close = redis::cmd("CLIENT");
            close.arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes");
            close.exec_async(&mut connection).await.unwrap();
            sleep(Duration::from_millis(200)).await;
        }
    };
    // A livelock never ends. Without one this takes ten seconds, or longer beside other tests.
    let limited = timeout(3 * LIMIT, drained_on_new_connections(&server, sent.len()));
    tokio::select! {
        () = closing => {}
        in_time = limited => in_time.unwrap(),
    }
    drained(&server, sent.len(), LIMIT).await;
    group.shutdown().await.unwrap();
    judge(&sent, &server.output().await).assert_flawless();
}

/// Waits until this many entries are in the output, on connections that may be closed meanwhile.
async fn drained_on_new_connections(server: &Server, entries: usize) {
    loop {
        let client = redis::Client::open(server.unix_url()).unwrap();
        if let Ok(mut connection) = client.get_multiplexed_async_connection().await
            && let Ok(length) = redis::cmd("XLEN").arg(OUTPUT).query_async::<usize>(&mut connection).await
            && length >= entries
        {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
