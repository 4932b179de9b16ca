//! Primaries that die, freeze, are replaced by hand, and come back.

use std::time::Duration;

use redis_consumer_group::{Begin, ConsumerGroup, SourceKind};
use tokio::time::sleep;

use crate::fixture::{LONG, SERVICE, Service, connection};
use crate::load::{Load, To, Witness, publish};
use crate::support::{INPUT, LIMIT, OUTPUT, eventually, settled};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_works_at_the_primary_that_the_sentinels_name() {
    let service = Service::start().await;
    let group = service.group().start().await.unwrap();
    let published = publish(&service, 0, 1_000).await;
    settled(&group, 1_000).await;
    assert!(service.connections_of_groups(1).await.is_empty());
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.processed, ledger.gaps.count), (1_000, 0), "{ledger}");
    let mut appended = service.ids_in(0, OUTPUT).await;
    appended.sort_by_key(|id| id.parse::<u64>().unwrap());
    assert_eq!(appended, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_a_channel_moves_to_the_promoted_server_when_the_primary_dies() {
    let mut service = Service::start().await;
    let witness = Witness::default();
    let group = witness.beside(service.group()).start().await.unwrap();
    let load = Load::start(&service, To::Channel);
    load.reaches(&group).await;
    service.nodes[0].kill().unwrap();
    service.has_primary(1).await;
    service.keeps_its_primary().await;
    load.reaches(&group).await;
    let gaps = end_of_channel(&service, 1, group, load, &witness).await;
    assert!(gaps > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_a_channel_survives_a_primary_that_freezes_and_thaws() {
    let service = Service::start().await;
    let witness = Witness::default();
    let group = witness.beside(service.group()).start().await.unwrap();
    let load = Load::start(&service, To::Channel);
    load.reaches(&group).await;
    service.nodes[0].freeze().unwrap();
    service.has_primary(1).await;
    service.keeps_its_primary().await;
    load.reaches(&group).await;
    service.nodes[0].thaw().unwrap();
    becomes_a_replica(&service, 0).await;
    load.reaches(&group).await;
    let gaps = end_of_channel(&service, 1, group, load, &witness).await;
    assert!(gaps > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_follows_a_failover_by_hand_and_repeats_commits_of_the_old_primary() {
    let service = Service::start().await;
    let witness = Witness::default();
    let group = witness.beside(service.group()).start().await.unwrap();
    let load = Load::start(&service, To::Channel);
    load.reaches(&group).await;
    service.keeps_its_primary().await;
    fail_over_by_hand(&service).await;
    service.has_primary(1).await;
    load.reaches(&group).await;
    becomes_a_replica(&service, 0).await;
    end_of_channel(&service, 1, group, load, &witness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_the_promoted_server_has_are_processed_once_when_the_primary_dies() {
    let mut service = Service::start().await;
    let group = stream_group(&service).await;
    let load = Load::start(&service, To::Stream);
    load.reaches(&group).await;
    service.nodes[0].kill().unwrap();
    service.has_primary(1).await;
    service.keeps_its_primary().await;
    load.reaches(&group).await;
    end_of_stream(&service, 1, group, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_a_stream_are_processed_once_across_a_failover_by_hand() {
    let service = Service::start().await;
    let group = stream_group(&service).await;
    let load = Load::start(&service, To::Stream);
    load.reaches(&group).await;
    service.keeps_its_primary().await;
    fail_over_by_hand(&service).await;
    service.has_primary(1).await;
    load.reaches(&group).await;
    becomes_a_replica(&service, 0).await;
    end_of_stream(&service, 1, group, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_to_an_old_primary_that_comes_back() {
    let mut service = Service::start().await;
    let witness = Witness::default();
    let group = witness.beside(service.group()).start().await.unwrap();
    let load = Load::start(&service, To::Channel);
    load.reaches(&group).await;
    service.nodes[0].kill().unwrap();
    service.has_primary(1).await;
    service.keeps_its_primary().await;
    load.reaches(&group).await;
    // It considers itself a primary, with no data, until a sentinel makes it a replica.
    service.nodes[0].restart().await.unwrap();
    eventually(LONG, "the old primary becomes a replica", async || {
        assert_eq!(service.connections_of_groups(0).await, [""; 0]);
        let keys: Vec<String> = service.run(0, "KEYS *").await;
        let replication: String = service.run(0, "INFO replication").await;
        assert!(keys.is_empty() || replication.contains("role:slave"), "{keys:?}");
        replication.contains("master_link_status:up")
    })
    .await;
    load.reaches(&group).await;
    assert_eq!(service.connections_of_groups(0).await, [""; 0]);
    end_of_channel(&service, 1, group, load, &witness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_follows_a_failover_back_while_a_sentinel_is_down() {
    let mut service = Service::start().await;
    let witness = Witness::default();
    let group = witness.beside(service.group()).start().await.unwrap();
    let load = Load::start(&service, To::Channel);
    load.reaches(&group).await;
    service.nodes[0].kill().unwrap();
    service.has_primary(1).await;
    service.keeps_its_primary().await;
    service.nodes[0].restart().await.unwrap();
    becomes_a_replica(&service, 0).await;
    load.reaches(&group).await;
    service.is_replaced_after(Duration::from_millis(500)).await;
    service.sentinels.sentinel(0).freeze().unwrap();
    service.nodes[1].kill().unwrap();
    let port = service.nodes[0].port();
    eventually(LONG, "the others promote the first one again", async || {
        service.sentinels.primary(1).await.unwrap() == port
    })
    .await;
    service.sentinels.sentinel(0).thaw().unwrap();
    service.keeps_its_primary().await;
    load.reaches(&group).await;
    end_of_channel(&service, 0, group, load, &witness).await;
}

async fn stream_group(service: &Service) -> ConsumerGroup {
    let group = service.group().source(SourceKind::Stream).begin_at(Begin::Beginning);
    group.start().await.unwrap()
}

/// Makes the sentinels promote the replica although the primary is healthy.
async fn fail_over_by_hand(service: &Service) {
    let mut sentinel = connection(&service.sentinels.sentinels()[0].unix_url()).await.unwrap();
    let mut command = redis::cmd("SENTINEL");
    command.arg("FAILOVER").arg(SERVICE).exec_async(&mut sentinel).await.unwrap();
}

async fn becomes_a_replica(service: &Service, node: usize) {
    eventually(LONG, "the old primary becomes a replica", async || {
        service.run::<String>(node, "INFO replication").await.contains("master_link_status:up")
    })
    .await;
}

/// Ends both, and compares the primary's output with the received messages. Returns the number of gaps.
async fn end_of_channel(
    service: &Service,
    primary: usize,
    group: ConsumerGroup,
    load: Load,
    witness: &Witness,
) -> u64 {
    load.end().await;
    eventually(LIMIT, "everything is settled", async || group.ledger().in_flight() == 0).await;
    // The last messages may still be on their way.
    sleep(Duration::from_millis(100)).await;
    let ledger = group.shutdown().await.unwrap();
    assert_eq!((ledger.lost, ledger.dropped), (0, 0), "{ledger}");
    witness.judge(&service.ids_in(primary, OUTPUT).await);
    ledger.gaps.count
}

/// Ends both, and compares the primary's input and output.
async fn end_of_stream(service: &Service, primary: usize, group: ConsumerGroup, load: Load) {
    load.end().await;
    eventually(LIMIT, "nothing is left to be processed", async || {
        let (read, pending) = standing(service, primary).await;
        group.ledger().in_flight() == 0 && pending == 0 && read == last_of(service, primary).await
    })
    .await;
    let ledger = group.shutdown().await.unwrap();
    let (mut added, mut appended) =
        (service.ids_in(primary, INPUT).await, service.ids_in(primary, OUTPUT).await);
    added.sort();
    appended.sort();
    let twice = appended.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!((appended.len(), twice), (added.len(), 0), "{ledger}");
    assert_eq!(appended, added);
}

/// The id of the last entry that the group has read, and how many entries are pending.
async fn standing(service: &Service, node: usize) -> (String, u64) {
    let mut groups: Vec<std::collections::HashMap<String, redis::Value>> =
        service.run(node, &format!("XINFO GROUPS {INPUT}")).await;
    let mut group = groups.remove(0);
    let read = redis::from_redis_value(group.remove("last-delivered-id").unwrap()).unwrap();
    (read, redis::from_redis_value(group.remove("pending").unwrap()).unwrap())
}

/// The id of the last entry of the input.
async fn last_of(service: &Service, node: usize) -> String {
    let mut stream: std::collections::HashMap<String, redis::Value> =
        service.run(node, &format!("XINFO STREAM {INPUT}")).await;
    redis::from_redis_value(stream.remove("last-generated-id").unwrap()).unwrap()
}
