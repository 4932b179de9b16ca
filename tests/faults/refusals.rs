//! A server that refuses writes for some time: receiving continues, and the messages are appended later.

use std::time::Duration;

use redis_consumer_group::ConsumerGroup;
use redis_private_server::PrivateServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fixture::{Fixture, INPUT, connect, eventually, judge_at, order, try_order};
use crate::judge::Witness;
use crate::load::Load;

async fn server() -> PrivateServer {
    PrivateServer::builder().start().await.unwrap()
}

/// Waits until nothing is appended any more while messages continue to arrive.
async fn waits(fixture: &Fixture) {
    let mut before = fixture.group.ledger();
    eventually("commits wait while receiving goes on", async || {
        let now = fixture.group.ledger();
        let waits = now.processed == before.processed && now.received > before.received + 2_000;
        if now.processed > before.processed {
            before = now;
        }
        waits
    })
    .await;
}

/// Makes the server refuse writes with this answer, then accept them again.
async fn refused(fixture: Fixture, code: &str, begin: &[&str], end: &[&str]) {
    let mut redis = fixture.redis().await;
    for command in begin {
        order(&mut redis, command).await;
    }
    eventually(&format!("the server answers {code}"), async || {
        let answer = try_order(&mut redis, "SET probe x").await;
        answer.is_err_and(|error| error.code() == Some(code))
    })
    .await;
    waits(&fixture).await;
    for command in end {
        order(&mut redis, command).await;
    }
    fixture.goes_on().await;
    let _ = try_order(&mut redis, "DEL probe").await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.dropped, ledger.abandoned), (0, 0, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_server_out_of_memory() {
    let fixture = Fixture::at(server().await, 3_000).await;
    refused(fixture, "OOM", &["CONFIG SET maxmemory 1mb"], &["CONFIG SET maxmemory 0"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_starts_at_a_server_out_of_memory() {
    let server = PrivateServer::builder().arg("maxmemory", "1mb").start().await.unwrap();
    let mut redis = connect(&server.url()).await;
    let mut other = redis.clone();
    let mut full = async || {
        order(&mut other, "CONFIG SET maxmemory 1").await;
        try_order(&mut other, "SET probe x").await.is_err_and(|error| error.code() == Some("OOM"))
    };
    eventually("the server is out of memory", &mut full).await;
    let witness = Witness::default();
    let starting = witness.beside(ConsumerGroup::builder(server.url())).start();
    let group = if refuses_subscriptions(&server).await {
        // In that case the start waits, and the memory is full again afterwards.
        let room = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            order(&mut redis, "CONFIG SET maxmemory 0").await;
        };
        let (group, ()) = tokio::join!(starting, room);
        eventually("the server is out of memory again", full).await;
        group.unwrap()
    } else {
        starting.await.unwrap()
    };
    let load = Load::start(server.addr(), INPUT, 2_000);
    let fixture = Fixture { server, group, witness, load };
    waits(&fixture).await;
    let mut redis = fixture.redis().await;
    order(&mut redis, "CONFIG SET maxmemory 0").await;
    fixture.goes_on().await;
    let (_, ledger) = fixture.end().await;
    assert_eq!((ledger.gaps.count, ledger.abandoned), (0, 0), "{ledger}");
}

/// Whether the server refuses subscriptions while it is out of memory, as Redis 8.6.3 does.
async fn refuses_subscriptions(server: &PrivateServer) -> bool {
    let mut socket = TcpStream::connect(server.addr()).await.unwrap();
    socket.write_all(b"SUBSCRIBE probe\r\n").await.unwrap();
    socket.read_u8().await.unwrap() == b'-'
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_at_a_server_out_of_memory_ends_in_time_and_counts_unfinished_messages() {
    let server = server().await;
    let seconds = Duration::from_secs;
    let fixture = Fixture::with(server, 2_000, |builder| builder.drain_timeout(seconds(2))).await;
    let mut redis = fixture.redis().await;
    order(&mut redis, "CONFIG SET maxmemory 1").await;
    waits(&fixture).await;
    let Fixture { server, group, witness, load } = fixture;
    let published = load.stop().await;
    let ledger = tokio::time::timeout(seconds(6), group.shutdown()).await.unwrap().unwrap();
    assert!(ledger.abandoned >= 2_000, "{ledger}");
    judge_at(&server, &published, &witness, &ledger).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_server_that_is_a_read_only_replica_for_some_time() {
    // The primary does not exist: a replica keeps its data until it has found its primary.
    let fixture = Fixture::at(server().await, 3_000).await;
    refused(fixture, "READONLY", &["REPLICAOF 127.0.0.1 1"], &["REPLICAOF NO ONE"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_server_with_too_few_replicas() {
    let fixture = Fixture::at(server().await, 3_000).await;
    let (begin, end) = ("CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0");
    refused(fixture, "NOREPLICAS", &[begin], &[end]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_survives_a_server_that_refuses_writes_after_a_failed_snapshot() {
    let server = PrivateServer::builder().arg("dbfilename", "snapshot").start().await.unwrap();
    // A file cannot replace a folder of that name.
    std::fs::create_dir(server.folder().join("snapshot")).unwrap();
    let fixture = Fixture::at(server, 3_000).await;
    let begin = ["CONFIG SET rdb-key-save-delay 0", "BGSAVE"];
    let mut redis = fixture.redis().await;
    redis::cmd("CONFIG").arg("SET").arg("save").arg("3600 1000000").exec_async(&mut redis).await.unwrap();
    refused(fixture, "MISCONF", &begin, &["CONFIG SET stop-writes-on-bgsave-error no"]).await;
}
