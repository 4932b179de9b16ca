//! Confirmed commits that a node lacks after a failover are repeated, or counted as lost.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis_consumer_group::{ConsumerGroup, Ledger, Shards, SourceKind};
use tokio::time::sleep;

use crate::fixture::{Cluster, input, output, settled};
use crate::load::{Load, Witness};
use crate::support::{LIMIT, eventually};

/// Keeps commits for longer than a failover takes.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_commits_that_the_promoted_node_lacks_are_repeated() {
    let mut cluster = Cluster::start(1).await;
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true).keep(LONG)).start().await.unwrap();
    let load = Load::start(&cluster, 0..3, true, 1_000);
    load.reaches_all(&group).await;
    let primary = cluster.primary_of(&input(0, true)).await;
    cut_off_from_its_primary(&cluster, primary).await;
    // The test: only this node has the latest commits.
    sleep(Duration::from_millis(300)).await;
    cluster.cluster.node(primary).kill().unwrap();
    cluster.is_replaced(primary).await;
    load.reaches_all(&group).await;
    let ledgers = load.end(&cluster, group, &witness).await;
    assert!(ledgers[0].repeated > 0, "{ledgers:?}");
    assert_eq!(ledgers.iter().map(|ledger| ledger.lost).sum::<u64>(), 0, "{ledgers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_commits_that_the_promoted_node_lacks_are_repeated_without_a_new_message() {
    for stops in [false, true] {
        let mut cluster = Cluster::start(1).await;
        let group = cluster.group(1, true).keep(LONG).start().await.unwrap();
        let channel = input(0, true);
        let primary = cluster.primary_of(&channel).await;
        let mut published = cluster.publish(&channel, 100).await;
        settled(&group, published.len()).await;
        cut_off_from_its_primary(&cluster, primary).await;
        published.extend(cluster.publish(&channel, 100).await);
        settled(&group, published.len()).await;
        cluster.cluster.node(primary).kill().unwrap();
        let stopping = if stops {
            // A group that stops waits until a replica has its commits.
            Some(group.shutdown().await.unwrap())
        } else {
            None
        };
        cluster.is_replaced(primary).await;
        eventually(LIMIT, "all of it is in the output", async || {
            cluster.ids_in(&output(0, true)).await.len() == published.len()
        })
        .await;
        if let Some(ledger) = stopping {
            assert_eq!((ledger.repeated, ledger.lost), (100, 0), "{ledger}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_are_no_longer_kept_are_lost_by_a_failover_and_counted() {
    let mut cluster = Cluster::start(1).await;
    let group = cluster.group(1, true).keep(Duration::from_millis(1)).start().await.unwrap();
    let channel = input(0, true);
    let primary = cluster.primary_of(&channel).await;
    let mut published = cluster.publish(&channel, 100).await;
    settled(&group, published.len()).await;
    cut_off_from_its_primary(&cluster, primary).await;
    for _ in 0..10 {
        published.extend(cluster.publish(&channel, 10).await);
        settled(&group, published.len()).await;
    }
    cluster.cluster.node(primary).kill().unwrap();
    cluster.is_replaced(primary).await;
    eventually(LIMIT, "the channel is subscribed at the promoted node", async || {
        let heard: Vec<String> = cluster.at(primary + 3, "PUBSUB SHARDCHANNELS").await;
        !heard.is_empty()
    })
    .await;
    published.extend(cluster.publish(&channel, 10).await);
    settled(&group, published.len()).await;
    let ledger = group.shutdown().await.unwrap();
    let appended = cluster.ids_in(&output(0, true)).await.len() as u64;
    assert!(ledger.lost > 0, "{ledger}");
    assert_eq!(appended, ledger.processed - ledger.lost, "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmed_commits_that_the_same_node_lacks_are_repeated() {
    let cluster = Cluster::start(1).await;
    let group = cluster.group(1, true).consumers(1).start().await.unwrap();
    let (channel, output) = (input(0, true), output(0, true));
    let primary = cluster.primary_of(&channel).await;
    let mut published = cluster.publish(&channel, 100).await;
    settled(&group, published.len()).await;
    cut_off_from_its_primary(&cluster, primary).await;
    let node = &mut cluster.node(primary).await;
    let (before, number) = (cluster.ids_in(&output).await.len(), lane_number(node).await);
    published.extend(cluster.publish(&channel, 100).await);
    settled(&group, published.len()).await;
    // The result of a failover and a failover back while the lane was not connected, made in one step.
    let entries: Vec<(String, Vec<(String, String)>)> =
        redis::cmd("XRANGE").arg(&output).arg("-").arg("+").query_async(node).await.unwrap();
    let (lane, number) = number;
    let mut back = redis::pipe();
    back.atomic().cmd("XDEL").arg(&output);
    for (id, _) in &entries[before..] {
        back.arg(id);
    }
    back.cmd("HSET").arg(lane).arg("number").arg(number);
    back.exec_async(node).await.unwrap();
    cluster.at::<()>(primary, "CLIENT KILL TYPE normal SKIPME yes").await;
    eventually(LIMIT, "all of it is in the output again", async || {
        cluster.ids_in(&output).await.len() == published.len()
    })
    .await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.repeated, ledger.lost), (100, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_hash_does_not_count_as_a_failover_when_the_lane_reconnects() {
    let fixture = Ahead::start(LONG).await;
    let node = &mut fixture.cluster.node(fixture.primary).await;
    let (lane, _) = lane_number(node).await;
    redis::cmd("UNLINK").arg(&lane).exec_async(node).await.unwrap();
    for _ in 0..3 {
        fixture.cluster.at::<()>(fixture.primary, "CLIENT KILL TYPE normal SKIPME yes").await;
        // A lane that keeps commits reconnects by itself, to ask for the replication.
        sleep(Duration::from_millis(600)).await;
    }
    fixture.cluster.publish(&input(0, true), 10).await;
    settled(&fixture.group, 210).await;
    let ledger = Ahead { published: 210, ..fixture }.end().await;
    assert_eq!((ledger.repeated, ledger.lost), (0, 0), "{ledger}");
}

/// The key of the one lane at this node, and the number of its last commit.
async fn lane_number(node: &mut MultiplexedConnection) -> (String, u64) {
    let lanes: Vec<String> =
        redis::cmd("KEYS").arg("messages:processed:*:lane:*").query_async(node).await.unwrap();
    let [lane] = <[String; 1]>::try_from(lanes).unwrap();
    let number = redis::cmd("HGET").arg(&lane).arg("number").query_async(node).await.unwrap();
    (lane, number)
}

/// Cuts the replica of a primary off from all further changes, by giving it a wrong password.
async fn cut_off_from_its_primary(cluster: &Cluster, primary: usize) {
    cluster.at::<()>(primary + 3, "CONFIG SET masterauth another").await;
    cluster.at::<()>(primary, "CLIENT KILL TYPE replica").await;
    eventually(LIMIT, "the primary has no replica", async || {
        cluster.at::<String>(primary, "INFO replication").await.contains("connected_slaves:0")
    })
    .await;
}

/// A shard whose primary has appended messages of which its replica has only the first hundred.
struct Ahead {
    cluster: Cluster,
    group: ConsumerGroup,
    primary: usize,
    published: usize,
}

impl Ahead {
    /// A hundred further messages are only at the primary, each in its own commit.
    async fn start(keep: Duration) -> Self {
        Self::start_by(keep, 100).await
    }

    async fn start_by(keep: Duration, more: usize) -> Self {
        let cluster = Cluster::start(1).await;
        let group = cluster.group(1, true).consumers(1).keep(keep).start().await.unwrap();
        let channel = input(0, true);
        let primary = cluster.primary_of(&channel).await;
        cluster.publish(&channel, 100).await;
        settled(&group, 100).await;
        eventually(LIMIT, "the replica has them", async || {
            cluster.at::<u64>(primary, &format!("XLEN {}", output(0, true))).await == 100
                && replica_has(&cluster, primary).await
        })
        .await;
        // By now the lane has asked for the replication, and knows that the replica has them.
        sleep(Duration::from_secs(2)).await;
        cut_off_from_its_primary(&cluster, primary).await;
        for published in 1..=more {
            cluster.publish(&channel, 1).await;
            settled(&group, 100 + published).await;
        }
        Self { cluster, group, primary, published: 100 + more }
    }

    /// Kills the primary, and waits until the replica has replaced it.
    async fn fail_over(&mut self) {
        self.cluster.cluster.node(self.primary).kill().unwrap();
        self.cluster.is_replaced(self.primary).await;
    }

    /// Stops the group, and checks that every message that was processed and not lost is in the output.
    async fn end(self) -> Ledger {
        let ledger = self.group.shutdown().await.unwrap();
        let appended = self.cluster.ids_in(&output(0, true)).await.len() as u64;
        assert_eq!(ledger.processed, self.published as u64, "{ledger}");
        assert_eq!(appended, ledger.processed - ledger.lost, "{ledger}");
        ledger
    }
}

/// Whether the replica has all data of the primary.
async fn replica_has(cluster: &Cluster, primary: usize) -> bool {
    let info: String = cluster.at(primary, "INFO replication").await;
    let own =
        info.lines().find_map(|line| line.strip_prefix("master_repl_offset:")).unwrap().trim().to_owned();
    info.contains(&format!("offset={own},"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_lane_counts_what_a_failover_has_lost() {
    for keep in [Duration::ZERO, Duration::from_millis(1)] {
        let mut fixture = Ahead::start(keep).await;
        fixture.fail_over().await;
        // The lane may still keep the last commit.
        let told = || fixture.group.ledger().lost + fixture.group.ledger().repeated;
        eventually(LIMIT, "the loss is told without a new message", async || told() == 100).await;
        assert!(fixture.end().await.lost >= 99);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_stops_after_a_failover_counts_what_is_lost() {
    let mut fixture = Ahead::start(Duration::from_millis(1)).await;
    // The test: a lane that keeps nothing any more asks only rarely.
    sleep(Duration::from_secs(1)).await;
    fixture.fail_over().await;
    let ledger = fixture.end().await;
    assert_eq!((ledger.repeated, ledger.lost), (0, 100), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_stops_repeats_commits_of_a_dead_node_at_the_promoted_node() {
    let mut fixture = Ahead::start(LONG).await;
    fixture.cluster.cluster.node(fixture.primary).kill().unwrap();
    let ledger = fixture.end().await;
    assert_eq!((ledger.repeated, ledger.lost), (100, 0), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_a_primary_lost_in_a_restart_are_repeated_or_counted() {
    let mut fixture = Ahead::start(LONG).await;
    // The restart is faster than the failure detection, so the node stays the primary, and its replica loses the data
    // too.
    fixture.cluster.cluster.node(fixture.primary).kill().unwrap();
    fixture.cluster.cluster.node(fixture.primary).restart().await.unwrap();
    let ledger = || fixture.group.ledger();
    eventually(LIMIT, "everything is repeated or lost", async || ledger().repeated + ledger().lost == 200)
        .await;
    let ledger = fixture.end().await;
    assert_eq!((ledger.repeated, ledger.lost), (100, 100), "{ledger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_a_stream_whose_records_are_lost_are_counted_and_processed_again() {
    let mut cluster = Cluster::start(1).await;
    let mut shards = Shards::new(1);
    shards.tags = true;
    let group = cluster.group(1, true).source(SourceKind::Stream).shards(shards).start().await.unwrap();
    let (input, output) = (input(0, true), output(0, true));
    let primary = cluster.primary_of(&input).await;
    let add = async |from: u64, to: u64| {
        let node = &mut cluster.node(primary).await;
        for id in from..to {
            let mut add = redis::cmd("XADD");
            add.arg(&input).arg("*").arg("message_id").arg(id).exec_async(node).await.unwrap();
        }
    };
    add(0, 100).await;
    settled(&group, 100).await;
    eventually(LIMIT, "the replica has them", async || replica_has(&cluster, primary).await).await;
    cut_off_from_its_primary(&cluster, primary).await;
    add(100, 200).await;
    settled(&group, 200).await;
    cluster.cluster.node(primary).kill().unwrap();
    cluster.is_replaced(primary).await;
    eventually(LIMIT, "the loss is told", async || group.ledger().lost >= 100).await;
    let ledger = group.shutdown().await.unwrap();
    let appended = cluster.ids_in(&output).await.len() as u64;
    assert_eq!(appended, ledger.processed - ledger.lost, "{ledger}");
}
