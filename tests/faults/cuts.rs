//! Connections that the server closes.

use std::time::Duration;

use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep};

use redis_consumer_group::{ConsumerGroup, Failure, Overflow};

use crate::fixture::{Fixture, INPUT, eventually, judge_at, order};
use crate::judge::Witness;
use crate::load::Load;

/// Closes connections repeatedly under load. Returns how many were closed.
async fn cut(fixture: &Fixture, commands: &[&str]) -> i64 {
    let mut redis = fixture.redis().await;
    let (mut cut, end) = (0, Instant::now() + Duration::from_secs(5));
    for command in commands.iter().cycle() {
        if Instant::now() > end {
            break;
        }
        let redis::Value::Int(killed) = order(&mut redis, command).await else { panic!("{command}") };
        cut += killed;
        // The interval between two faults; nothing is waited for.
        sleep(Duration::from_millis(90)).await;
    }
    cut
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_repeated_cuts_of_all_connections_under_load() {
    let server = PrivateServer::builder().start().await.unwrap();
    let fixture = Fixture::at(server, 20_000).await;
    let killed =
        cut(&fixture, &["CLIENT KILL TYPE normal SKIPME yes", "CLIENT KILL TYPE pubsub SKIPME yes"]).await;
    assert!(killed > 60, "{killed}");
    fixture.goes_on().await;
    let (_, ledger) = fixture.end().await;
    assert!(ledger.gaps.count >= 10, "{ledger}");
    assert_eq!((ledger.abandoned, ledger.dropped), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_of_only_the_lanes_causes_no_gap() {
    let server = PrivateServer::builder().start().await.unwrap();
    let fixture = Fixture::at(server, 5_000).await;
    let mut redis = fixture.redis().await;
    let end = Instant::now() + Duration::from_secs(5);
    let mut cut = 0;
    while Instant::now() < end {
        let clients = order(&mut redis, "CLIENT LIST TYPE normal").await;
        for client in redis::from_redis_value::<String>(clients).unwrap().lines() {
            let Some(id) = client.split(' ').next().and_then(|id| id.strip_prefix("id=")) else { continue };
            if client.contains("name=redis-consumer-group:lane") {
                let killed = order(&mut redis, &format!("CLIENT KILL ID {id}")).await;
                cut += u32::from(killed == redis::Value::Int(1));
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert!(cut > 40, "{cut}");
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_reads_too_slowly_is_cut_and_the_gap_is_reported() {
    let server = PrivateServer::builder()
        .arg("client-output-buffer-limit", "pubsub 64kb 32kb 1")
        .start()
        .await
        .unwrap();
    let stuck = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let witness = Witness::default();
    let group = ConsumerGroup::builder(server.url())
        .overflow(Overflow::Wait)
        .buffer(64 << 10)
        .max_payload(8 << 10)
        .processor({
            let (stuck, witness) = (stuck.clone(), witness.clone());
            move |consumer, message| {
                let (stuck, witness) = (stuck.clone(), witness.clone());
                async move {
                    drop(stuck.acquire().await);
                    Ok::<_, Failure>(witness.note(&consumer, &message))
                }
            }
        })
        .start()
        .await
        .unwrap();
    let load = Load::start_padded(server.addr(), INPUT, 5_000, 4_000);
    let mut redis = crate::fixture::connect(&server.url()).await;
    eventually("the server cuts the subscriber", async || {
        load.count() > 0
            && order(&mut redis, "PUBSUB NUMSUB messages:published").await
                == redis::Value::Array(vec![redis::Value::BulkString(INPUT.into()), redis::Value::Int(0)])
    })
    .await;
    assert_eq!(group.ledger().processed, 0);

    // From here on, published messages are lost, long before the group reads the end of the connection.
    let unread = std::time::Duration::from_secs(2);
    tokio::time::sleep(unread).await;
    stuck.add_permits(1_000_000);
    eventually("it is subscribed again", async || !group.ledger().gaps.latest.is_empty()).await;
    // From now on messages are received and processed again.
    let processed = group.ledger().processed;
    eventually("the group goes on", async || group.ledger().processed > processed + 500).await;
    let published = load.stop().await;
    let ledger = group.shutdown().await.unwrap();
    judge_at(&server, &published, &witness, &ledger).await;
    assert_eq!((ledger.dropped, ledger.abandoned), (0, 0), "{ledger}");
    assert!(published.len() as u64 > ledger.received, "something was lost in the gap; {ledger}");
    assert!(ledger.gaps.total >= unread, "the gap is as long as the loss; {ledger}");
}
