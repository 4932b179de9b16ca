//! Slots that move between nodes while messages flow.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::fixture::{Cluster, input, output, publish, settled};
use crate::load::{Load, Witness};
use crate::support::{LIMIT, eventually};

#[tokio::test]
async fn a_group_follows_a_moved_slot_quickly_and_only_its_shard_has_a_gap() {
    let cluster = Cluster::start(0).await;
    let group = cluster.group(3, true).start().await.unwrap();
    let mut published = Vec::new();
    for shard in 0..3 {
        published.push(cluster.publish(&input(shard, true), 1_000).await);
    }
    let moved = input(0, true);
    let slot: u16 = cluster.at(0, &format!("CLUSTER KEYSLOT {moved}")).await;
    let from = cluster.primary_of(&moved).await;
    let to = (from + 1) % 3;
    settled(&group, 3_000).await;
    cluster.cluster.move_slot(slot, to).await.unwrap();
    eventually(LIMIT, "the channel is subscribed at its new node", async || {
        let (_, heard): (String, u64) = cluster.at(to, &format!("PUBSUB SHARDNUMSUB {moved}")).await;
        heard == 1
    })
    .await;
    let mut connection = cluster.connection().await;
    for shard in 0..3 {
        published[shard as usize].extend(publish(&mut connection, &input(shard, true), 1_000).await);
    }
    settled(&group, 6_000).await;
    let gaps: Vec<_> = group.handle().shards().iter().map(|shard| shard.figures().ledger.gaps).collect();
    assert_eq!(gaps.iter().map(|gaps| gaps.count).collect::<Vec<_>>(), [1, 0, 0], "{gaps:?}");
    assert!(gaps[0].total < Duration::from_secs(1), "{gaps:?}");
    assert!(gaps[0].latest[0].cause.contains("slot"), "{gaps:?}");
    assert_eq!((&gaps[0].latest[0].channel, gaps[0].latest[0].shard), (&moved, Some(0)));
    group.shutdown().await.unwrap();
    for (shard, published) in published.into_iter().enumerate() {
        let appended = cluster.ids_in(&output(shard as u32, true)).await;
        assert_eq!(appended.len(), 2_000);
        assert_eq!(HashSet::<String>::from_iter(appended), HashSet::from_iter(published));
    }
}

/// Moves the slot of the first shard repeatedly, while messages flow to all shards.
async fn a_slot_moves_under_load(for_so_long: Duration, a_second: u64) {
    let cluster = Cluster::start(0).await;
    let witness = Witness::default();
    let group = witness.beside(cluster.group(3, true)).start().await.unwrap();
    let load = Load::start(&cluster, 0..3, true, a_second);
    load.reaches_all(&group).await;
    let moved = input(0, true);
    let slot: u16 = cluster.at(0, &format!("CLUSTER KEYSLOT {moved}")).await;
    let (end, mut moves, mut migrations) = (Instant::now() + for_so_long, 0, 0);
    while Instant::now() < end {
        let from = cluster.primary_of(&moved).await;
        let to = (from + 1) % 3;
        // Uses both ways of moving, where the server supports the second.
        let migrates = moves % 2 == 1 && cluster.cluster.migrate_slot(slot, to).await.unwrap();
        if !migrates {
            cluster.cluster.move_slot(slot, to).await.unwrap();
        }
        migrations += u64::from(migrates);
        moves += 1;
        sleep(Duration::from_millis(300)).await;
        load.reaches_all(&group).await;
    }
    let ledgers = load.end(&cluster, group, &witness).await;
    assert!(ledgers[0].gaps.count >= moves, "{ledgers:?}");
    assert!(ledgers[1..].iter().all(|ledger| ledger.gaps.count == 0), "{ledgers:?}");
    // Each gap is one resubscription: from the old node's report that the slot has left to the new node's confirmation.
    let mut gaps: Vec<_> = ledgers[0].gaps.latest.iter().map(|gap| gap.duration).collect();
    gaps.sort_unstable();
    let longest = gaps[gaps.len() - 1];
    println!(
        "{moves} moves, {migrations} of them by the servers themselves; gaps of {:.1?}, the longest {longest:.1?}",
        gaps[gaps.len() / 2]
    );
    assert!(longest < Duration::from_secs(1), "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_received_while_a_slot_moves_back_and_forth_are_appended_once() {
    a_slot_moves_under_load(Duration::from_secs(5), 2_000).await;
}

mod long {
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes more than a minute; scripts/test --long runs it"]
    async fn messages_received_while_a_slot_moves_back_and_forth_for_a_minute_are_appended_once() {
        super::a_slot_moves_under_load(Duration::from_secs(60), 7_000).await;
    }
}
