//! Publishes messages to each shard until the test ends, and judges the output.

use std::collections::{HashMap, HashSet};
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult, pipe};
use redis_consumer_group::{Builder, ConsumerGroup, Failure, Gap, Ledger, Message, Processor, Record, Shard};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Cluster, input, output};
use crate::support::{LIMIT, entries, eventually};

/// Records the id of each message that reaches the processor, by shard. These messages count as received.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<HashMap<u32, Vec<u64>>>>);

impl Witness {
    /// Gives the group a processor that records each message and appends it.
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

/// The messages published to one shard: ids from 0, each with the time between sending and confirmation, if confirmed.
type Published = Vec<Option<Range<SystemTime>>>;

/// One publisher per shard.
pub(crate) struct Load {
    tags: bool,
    stop: CancellationToken,
    tasks: JoinSet<(u32, Published)>,
    /// All gaps of each shard.
    gaps: Mutex<HashMap<u32, Vec<Gap>>>,
}

impl Load {
    /// Starts to publish this many messages a second to each of these shards.
    pub(crate) fn start(cluster: &Cluster, shards: Range<u32>, tags: bool, a_second: u64) -> Self {
        let stop = CancellationToken::new();
        let nodes: Vec<_> = cluster.cluster.nodes().iter().map(|node| node.url()).collect();
        let mut tasks = JoinSet::new();
        for shard in shards {
            let (nodes, channel, stop) = (nodes.clone(), input(shard, tags), stop.clone());
            tasks.spawn(async move { (shard, publish(&nodes, &channel, a_second, stop).await) });
        }
        Self { tags, stop, tasks, gaps: Mutex::default() }
    }

    /// Waits until the group has received something new from this shard.
    pub(crate) async fn reaches(&self, shard: &Shard) {
        let received = shard.figures().ledger.received;
        let what = format!("shard {:?} receives", shard.number());
        eventually(LIMIT, &what, async || shard.figures().ledger.received > received).await;
    }

    /// The same for all shards of the group.
    pub(crate) async fn reaches_all(&self, group: &ConsumerGroup) {
        for shard in group.handle().shards() {
            self.reaches(shard).await;
        }
        self.note_gaps(group);
    }

    /// A ledger keeps only the latest gaps, so they are collected in time.
    fn note_gaps(&self, group: &ConsumerGroup) {
        let mut noted = self.gaps.lock().unwrap();
        for shard in group.handle().shards() {
            let noted = noted.entry(shard.number().unwrap()).or_default();
            let new = shard.figures().ledger.gaps.latest.into_iter().filter(|gap| !noted.contains(gap));
            let new: Vec<_> = new.collect();
            noted.extend(new);
        }
    }

    /// Stops publishing, stops the group, and compares the messages published, received and appended. Returns the
    /// ledgers of the shards.
    pub(crate) async fn end(
        mut self,
        cluster: &Cluster,
        group: ConsumerGroup,
        witness: &Witness,
    ) -> Vec<Ledger> {
        self.stop.cancel();
        let published = std::mem::take(&mut self.tasks).join_all().await;
        eventually(LIMIT, "everything is settled", async || group.ledger().in_flight() == 0).await;
        // The last messages may still be on their way.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut group = group;
        group.stop();
        group.join().await.unwrap();
        self.note_gaps(&group);
        for (shard, published) in &published {
            let ledger = group.handle().shards()[*shard as usize].figures().ledger;
            let appended = appended(cluster, &output(*shard, self.tags)).await;
            let gaps = &self.gaps.lock().unwrap()[shard];
            assert_eq!(gaps.len() as u64, ledger.gaps.count, "shard {shard}: all of them were seen");
            judge(*shard, published, &witness.of(*shard), &appended, &ledger, gaps);
        }
        group.handle().shards().iter().map(|shard| shard.figures().ledger).collect()
    }
}

/// Publishes to a channel until the stop, at any node that accepts it. Not with a cluster client, which may wait for a
/// node that does not serve the channel.
async fn publish(nodes: &[String], channel: &str, a_second: u64, stop: CancellationToken) -> Published {
    const TICK: Duration = Duration::from_millis(5);
    let a_tick = (a_second * TICK.as_millis() as u64 / 1000).max(1);
    let (mut published, mut connection) = (Published::new(), None);
    let mut nodes = nodes.iter().cycle();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stop.is_cancelled() {
        ticks.tick().await;
        let open = match &mut connection {
            Some(open) => open,
            none => match connect(nodes.next().unwrap()).await {
                Ok(open) => none.insert(open),
                Err(_) => continue,
            },
        };
        let mut pipeline = pipe();
        let first = published.len() as u64;
        for id in first..first + a_tick {
            pipeline.cmd("SPUBLISH").arg(channel).arg(id);
        }
        let sent = SystemTime::now();
        let heard: RedisResult<Vec<u64>> = pipeline.query_async(open).await;
        let times = heard.is_ok().then(|| sent..SystemTime::now());
        // After an error it is unknown which of these messages were published.
        published.extend(repeat_n(times, a_tick as usize));
        if heard.is_err() {
            connection = None;
        }
    }
    published
}

async fn connect(node: &str) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_millis(500)))
        .set_response_timeout(Some(Duration::from_secs(2)));
    redis::Client::open(node)?.get_multiplexed_async_connection_with_config(&config).await
}

async fn appended(cluster: &Cluster, stream: &str) -> Vec<u64> {
    let mut connection = cluster.node(cluster.primary_of(stream).await).await;
    entries(&mut connection, stream).await.iter().map(|entry| id_of(&entry.fields[0].1)).collect()
}

/// Checks that each received message is in the output once, and that each message that was not received is in a gap.
fn judge(
    shard: u32,
    published: &Published,
    received: &[u64],
    appended: &[u64],
    ledger: &Ledger,
    gaps: &[Gap],
) {
    // Compares lists and not only sets, because a client that is redirected may have published a message twice.
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
    let received: HashSet<_> = received.iter().copied().collect();
    let missing = published.iter().enumerate().filter(|(id, _)| !received.contains(&(*id as u64)));
    for times in missing.filter_map(|(_, times)| times.as_ref()) {
        // Tolerance for the clocks, and for what was still read when the connection ended.
        const SLACK: Duration = Duration::from_millis(50);
        let told = gaps
            .iter()
            .any(|gap| gap.ended - gap.duration - SLACK <= times.end && times.start <= gap.ended + SLACK);
        assert!(told, "shard {shard}: published at {times:?}, and not received, but in no gap: {gaps:?}");
    }
}
