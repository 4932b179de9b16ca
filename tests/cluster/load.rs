//! Messages that are published to each shard for as long as it takes, and what became of them.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::{RedisResult, cmd, pipe};
use redis_consumer_group::{Builder, ConsumerGroup, Failure, Ledger, Message, Processor, Record, Shard};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::scene::{Cluster, input, output};
use crate::support::{LIMIT, eventually};

/// Notes the id of each message that reaches the processor, by shard: these were received.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<HashMap<u32, Vec<u64>>>>);

impl Witness {
    /// Has a group's processor note what it is given, and append it.
    pub(crate) fn beside<P: Processor>(&self, builder: Builder<P>) -> Builder<impl Processor + use<P>> {
        let witness = self.0.clone();
        builder.processor(move |consumer, message: Message| {
            let id = id_of(message.payload());
            witness.lock().unwrap().entry(consumer.shard().unwrap()).or_default().push(id);
            async move { Ok::<_, Failure>(Record::new().field("message_id", id.to_string())) }
        })
    }

    pub(crate) fn of(&self, shard: u32) -> Vec<u64> {
        self.0.lock().unwrap().get(&shard).cloned().unwrap_or_default()
    }
}

fn id_of(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}

/// What was published to one shard: ids from 0, and when the server confirmed each, if it did.
type Published = Vec<Option<Instant>>;

/// Publishers, one for each shard.
pub(crate) struct Load {
    tags: bool,
    stop: CancellationToken,
    tasks: JoinSet<(u32, Published)>,
}

impl Load {
    /// Begins to publish so many messages a second to each of these shards.
    pub(crate) fn start(cluster: &Cluster, shards: Range<u32>, tags: bool, a_second: u64) -> Self {
        const TICK: Duration = Duration::from_millis(5);
        let a_tick = (a_second * TICK.as_millis() as u64 / 1000).max(1);
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for shard in shards {
            let (client, stop) = (cluster.client(), stop.clone());
            tasks.spawn(async move {
                let channel = input(shard, tags);
                let mut published = Published::new();
                let mut connection = None;
                let mut ticks = interval(TICK);
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                while !stop.is_cancelled() {
                    ticks.tick().await;
                    let open = match &mut connection {
                        Some(open) => open,
                        none => match client.get_async_connection().await {
                            Ok(open) => none.insert(open),
                            Err(_) => continue,
                        },
                    };
                    let mut pipeline = pipe();
                    let first = published.len() as u64;
                    for id in first..first + a_tick {
                        pipeline.cmd("SPUBLISH").arg(&channel).arg(id);
                    }
                    let heard: RedisResult<Vec<u64>> = pipeline.query_async(open).await;
                    match heard {
                        Ok(_) => published.extend((0..a_tick).map(|_| Some(Instant::now()))),
                        Err(_) => {
                            // Whether they were published is not known.
                            published.extend((0..a_tick).map(|_| None));
                            connection = None;
                        }
                    }
                }
                (shard, published)
            });
        }
        Self { tags, stop, tasks }
    }

    /// Waits until the group has received something new of this shard.
    pub(crate) async fn reaches(&self, shard: &Shard) {
        let received = shard.ledger().received;
        let what = format!("shard {:?} receives", shard.number());
        eventually(LIMIT, &what, async || shard.ledger().received > received).await;
    }

    /// The same for all shards of the group.
    pub(crate) async fn reaches_all(&self, group: &ConsumerGroup) {
        for shard in group.shards() {
            self.reaches(shard).await;
        }
    }

    /// Stops publishing, stops the group, and compares what was published, received and appended. The ledgers of the
    /// shards.
    pub(crate) async fn end(self, cluster: &Cluster, group: ConsumerGroup, witness: &Witness) -> Vec<Ledger> {
        self.stop.cancel();
        let published = self.tasks.join_all().await;
        eventually(LIMIT, "everything is settled", async || group.ledger().in_flight() == 0).await;
        // As late as this: what was published last may still have been on its way.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut group = group;
        group.stop();
        group.join().await.unwrap();
        for (shard, published) in &published {
            let ledger = group.shards()[*shard as usize].ledger();
            let appended = appended(cluster, &output(*shard, self.tags)).await;
            judge(*shard, published, &witness.of(*shard), &appended, &ledger);
        }
        group.shards().iter().map(Shard::ledger).collect()
    }
}

async fn appended(cluster: &Cluster, stream: &str) -> Vec<u64> {
    const PAGE: usize = 10_000;
    type Page = Vec<(String, Vec<(String, u64)>)>;
    let mut connection = cluster.connection().await;
    let (mut ids, mut from) = (Vec::new(), "-".to_owned());
    loop {
        let mut range = cmd("XRANGE");
        range.arg(stream).arg(&from).arg("+").arg("COUNT").arg(PAGE);
        let page: Page = range.query_async(&mut connection).await.unwrap();
        ids.extend(page.iter().map(|(_, fields)| fields[0].1));
        match page.last() {
            Some((last, _)) if page.len() == PAGE => from = format!("({last}"),
            _ => return ids,
        }
    }
}

/// What was received is in the output once, and what was not received lies in the gaps.
fn judge(shard: u32, published: &Published, received: &[u64], appended: &[u64], ledger: &Ledger) {
    // Not only as sets: a client that is sent from node to node may have published a message twice.
    let sorted = |ids: &[u64]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    let (all_received, all_appended) = (sorted(received), sorted(appended));
    if all_received != all_appended {
        let set = |ids: &[u64]| ids.iter().copied().collect::<HashSet<_>>();
        let lost = set(received).difference(&set(appended)).count();
        let (received, appended) = (received.len(), appended.len());
        panic!("shard {shard}: {received} received, {appended} appended, {lost} of them lost; {ledger}");
    }
    assert_eq!(ledger.received, received.len() as u64, "shard {shard}: {ledger}");
    let once_received: HashSet<_> = received.iter().copied().collect();

    // Runs of messages that were published and did not reach us.
    let mut runs: Vec<(Instant, Instant)> = Vec::new();
    let mut missing = false;
    for (id, at) in published.iter().enumerate() {
        let Some(at) = *at else { continue };
        match (once_received.contains(&(id as u64)), missing, runs.last_mut()) {
            (true, ..) => missing = false,
            (false, true, Some(run)) => run.1 = at,
            (false, ..) => {
                missing = true;
                runs.push((at, at));
            }
        }
    }
    let spans: Vec<_> = runs.iter().map(|(from, to)| *to - *from).collect();
    let gaps = &ledger.gaps;
    assert!(runs.len() as u64 <= gaps.count, "shard {shard}: missing for {spans:?}, and {gaps:?}");
    // They are confirmed in groups.
    let slack = Duration::from_millis(50) * runs.len() as u32;
    assert!(spans.iter().sum::<Duration>() <= gaps.total + slack, "shard {shard}: {spans:?}, {gaps:?}");
}
