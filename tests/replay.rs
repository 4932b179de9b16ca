//! Replays of rejected messages whose epoch ends in the middle.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use redis::pipe;
use redis_consumer_group::{Failure, Message, Record, Replay};
use support::{LIMIT, OUTPUT, REJECTED, Server, eventually};
use tokio::sync::Semaphore;

const BY_GROUP: &str = "error gone consumer_id c source messages:published";

#[tokio::test]
async fn messages_that_are_discarded_after_enough_were_read_are_replaced_by_others() {
    const COUNT: usize = 5;
    let server = Server::start().await;
    let mut adding = pipe();
    for n in 0..3 * COUNT {
        adding
            .cmd("XADD")
            .arg(REJECTED)
            .arg("*")
            .arg("payload")
            .arg(n)
            .arg(BY_GROUP.split(' ').collect::<Vec<_>>());
    }
    adding.exec_async(&mut server.connection().await).await.unwrap();
    let (started, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let mut replay = Replay::default();
    replay.count = Some(COUNT as u64);
    let mut group = server
        .group()
        .replay(replay)
        .consumers(2 * COUNT)
        .lease(Duration::from_secs(1))
        .processor({
            let (started, gate) = (started.clone(), gate.clone());
            move |_, message: Message| {
                let (started, gate) = (started.clone(), gate.clone());
                async move {
                    started.add_permits(1);
                    let _open = gate.acquire().await;
                    Ok::<_, Failure>(Record::new().field("payload", message.text().unwrap_or_default()))
                }
            }
        })
        .start()
        .await
        .unwrap();
    drop(started.acquire_many(COUNT as u32).await.unwrap());
    let tokens = || async { server.run::<Vec<String>>("KEYS {messages:rejected}:token:*").await };
    let token = tokens().await.remove(0);
    // What a takeover by another process does.
    server.run::<u64>(&format!("DEL {token}")).await;
    eventually(LIMIT, "the next epoch has begun", async || tokens().await.iter().any(|next| *next != token))
        .await;
    // Long enough to read again while all messages of the former epoch are in flight.
    tokio::time::sleep(Duration::from_millis(500)).await;
    gate.add_permits(100);
    let ledger = group.join().await.unwrap();
    assert_eq!((ledger.processed, ledger.fenced), (COUNT as u64, COUNT as u64), "{ledger}");
    assert_eq!((server.length(OUTPUT).await, server.length(REJECTED).await), (COUNT, 2 * COUNT));
}
