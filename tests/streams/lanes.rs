//! Lanes whose hash is deleted while the answer to a commit is lost: the commit is not repeated.

use std::sync::Arc;

use redis_consumer_group::{ConsumerGroup, SourceKind};
use redis_private_server::PrivateServer;
use tokio::sync::Semaphore;

use crate::fixture::{append, assert_nothing_left_behind, gate, gated, pending, soon};
use crate::line::{Condition, Line};
use crate::support::{OUTPUT, Server, judge};

/// A group with one consumer, whose lease is long, so that its process does not count as dead meanwhile.
async fn start(line: &Line, gate: &Arc<Semaphore>) -> ConsumerGroup {
    let builder = ConsumerGroup::builder(line.url()).source(SourceKind::Stream).consumers(1);
    gated(builder, gate).start().await.unwrap()
}

/// Lets the group process messages. The server executes the commit of the first one when its answers no longer arrive.
async fn commit_without_answer(server: &Server, line: &Line, gate: &Semaphore, permits: usize) {
    let before = server.length(OUTPUT).await;
    server.run::<()>("CLIENT PAUSE 20000 WRITE").await;
    gate.add_permits(permits);
    lane_has_sent(server, "xadd").await;
    line.set(Condition::Deaf);
    server.run::<()>("CLIENT UNPAUSE").await;
    soon("the commit is made", async || server.length(OUTPUT).await == before + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_with_its_lane_is_not_repeated() {
    let server = Server::start().await;
    let line = Line::to(server.addr()).await;
    let gate = gate();
    let group = start(&line, &gate).await;
    append(&server, 0..1).await;
    soon("the entry is handed out", async || pending(&server).await == 1).await;
    commit_without_answer(&server, &line, &gate, 2).await;
    delete_lanes(&server).await;
    line.set(Condition::Cut);
    soon("it is cut off", async || server.connections_of_groups().await.is_empty()).await;
    line.set(Condition::Fair);
    // One more permit, in case the entry is delivered before the lane finds that its hash is gone, and then again.
    gate.add_permits(1);
    append(&server, 1..2).await;
    soon("the next one is processed", async || group.ledger().processed == 1).await;
    let ledger = group.shutdown().await.unwrap();
    let sent = ["0", "1"].map(str::to_owned);
    judge(&sent, &server.output().await).assert_flawless();
    // The first entry counts as fenced, because the process never read the answer to its own commit.
    assert!(ledger.processed == 1 && ledger.fenced >= 1, "{ledger}");
    assert_nothing_left_behind(&server).await;
}

/// 1. The first commit of a lane is executed, and its answer is lost.
/// 2. The lane's hash is deleted.
/// 3. The lane reconnects, which creates the hash. This answer is lost too.
/// 4. The lane reconnects once more, and finds a hash.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_not_repeated_if_a_lost_attempt_recreated_its_lane() {
    let server = Server::start().await;
    let line = Line::to(server.addr()).await;
    let gate = gate();
    let group = start(&line, &gate).await;
    append(&server, 0..1).await;
    soon("the entry is handed out", async || pending(&server).await == 1).await;
    commit_without_answer(&server, &line, &gate, 2).await;
    delete_lanes(&server).await;
    server.run::<()>("CLIENT PAUSE 20000 WRITE").await;
    line.set(Condition::Cut);
    soon("it is cut off", async || server.connections_of_groups().await.is_empty()).await;
    line.set(Condition::Fair);
    lane_has_sent(&server, "hincrby").await;
    line.set(Condition::Deaf);
    server.run::<()>("CLIENT UNPAUSE").await;
    soon("the hash is there again", async || !lanes(&server).await.is_empty()).await;
    line.set(Condition::Cut);
    soon("it is cut off again", async || server.connections_of_groups().await.is_empty()).await;
    line.set(Condition::Fair);
    gate.add_permits(1);
    append(&server, 1..2).await;
    soon("the next one is processed", async || group.ledger().processed == 1).await;
    group.shutdown().await.unwrap();
    let sent = ["0", "1"].map(str::to_owned);
    judge(&sent, &server.output().await).assert_flawless();
    assert_nothing_left_behind(&server).await;
}

/// 1. The hash of a lane is deleted, and the lane begins with another one.
/// 2. The first commit since is executed. The server dies before it answers.
/// 3. Others delete the hash again, before the lane has reconnected to the restarted server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_not_repeated_at_a_restarted_server_without_its_lane() {
    let mut server = Server::start_with(PrivateServer::builder().appendonly_always()).await;
    let line = Line::to(server.addr()).await;
    let gate = gate();
    let group = start(&line, &gate).await;
    gate.add_permits(1);
    append(&server, 0..1).await;
    soon("the first entry is processed", async || group.ledger().processed == 1).await;
    delete_lanes(&server).await;
    gate.add_permits(1);
    append(&server, 1..2).await;
    soon("the epoch is over", async || group.ledger().fenced == 1).await;
    soon("the entry is taken over", async || group.ledger().in_flight() == 1).await;
    commit_without_answer(&server, &line, &gate, 1).await;
    line.set(Condition::Cut);
    server.kill().unwrap();
    server.restart().await.unwrap();
    delete_lanes(&server).await;
    line.set(Condition::Fair);
    // One more permit, in case the entry is delivered again.
    gate.add_permits(2);
    append(&server, 2..3).await;
    soon("the last one is processed", async || group.ledger().processed == 2).await;
    group.shutdown().await.unwrap();
    let sent = ["0", "1", "2"].map(str::to_owned);
    judge(&sent, &server.output().await).assert_flawless();
    assert_nothing_left_behind(&server).await;
}

/// Deletes the hashes of all lanes, as another process does when the lease of the ids has lapsed.
async fn delete_lanes(server: &Server) {
    server.run::<()>(&format!("DEL {}", lanes(server).await.join(" "))).await;
}

/// The keys of all lanes.
async fn lanes(server: &Server) -> Vec<String> {
    server.keys().await.into_iter().filter(|key| key.contains(":lane:")).collect()
}

/// Waits until the last command that came from a lane is this one.
async fn lane_has_sent(server: &Server, command: &str) {
    let (lane, command) = ("name=redis-consumer-group:lane", format!("cmd={command}"));
    soon("the lane's commands have arrived", async || {
        let groups = server.connections_of_groups().await;
        groups.iter().any(|line| line.contains(lane) && line.contains(&command))
    })
    .await;
}
