//! Messages that are published to each shard for as long as it takes, and what became of them.

use std::collections::{HashMap, HashSet};
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisResult, cmd, pipe};
use redis_consumer_group::{Builder, ConsumerGroup, Failure, Gap, Ledger, Message, Processor, Record, Shard};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::fixture::{Cluster, input, output};
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

/// What was published to one shard: ids from 0, and when each was sent and confirmed, if it was.
type Published = Vec<Option<Range<SystemTime>>>;

/// Publishers, one for each shard.
pub(crate) struct Load {
    tags: bool,
    stop: CancellationToken,
    tasks: JoinSet<(u32, Published)>,
    /// All gaps of each shard.
    gaps: Mutex<HashMap<u32, Vec<Gap>>>,
}

impl Load {
    /// Begins to publish so many messages a second to each of these shards.
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
        self.note_gaps(group);
    }

    /// A ledger only has the latest ones.
    fn note_gaps(&self, group: &ConsumerGroup) {
        let mut noted = self.gaps.lock().unwrap();
        for shard in group.shards() {
            let noted = noted.entry(shard.number().unwrap()).or_default();
            let new = shard.ledger().gaps.latest.into_iter().filter(|gap| !noted.contains(gap));
            let new: Vec<_> = new.collect();
            noted.extend(new);
        }
    }

    /// Stops publishing, stops the group, and compares what was published, received and appended. The ledgers of the
    /// shards.
    pub(crate) async fn end(
        mut self,
        cluster: &Cluster,
        group: ConsumerGroup,
        witness: &Witness,
    ) -> Vec<Ledger> {
        self.stop.cancel();
        let published = std::mem::take(&mut self.tasks).join_all().await;
        eventually(LIMIT, "everything is settled", async || group.ledger().in_flight() == 0).await;
        // As late as this: what was published last may still have been on its way.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut group = group;
        group.stop();
        group.join().await.unwrap();
        self.note_gaps(&group);
        for (shard, published) in &published {
            let ledger = group.shards()[*shard as usize].ledger();
            let appended = appended(cluster, &output(*shard, self.tags)).await;
            let gaps = &self.gaps.lock().unwrap()[shard];
            assert_eq!(gaps.len() as u64, ledger.gaps.count, "shard {shard}: all of them were seen");
            judge(*shard, published, &witness.of(*shard), &appended, &ledger, gaps);
        }
        group.shards().iter().map(Shard::ledger).collect()
    }
}

/// Publishes to a channel until the stop, at whichever node takes it: no cluster client, which may wait for a node that
/// has nothing to do with the channel.
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
        // After an error it is not known which of them were published.
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
    const PAGE: usize = 10_000;
    type Page = Vec<(String, Vec<(String, u64)>)>;
    let mut connection = cluster.node(cluster.primary_of(stream).await).await;
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
fn judge(
    shard: u32,
    published: &Published,
    received: &[u64],
    appended: &[u64],
    ledger: &Ledger,
    gaps: &[Gap],
) {
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
    let received: HashSet<_> = received.iter().copied().collect();
    let missing = published.iter().enumerate().filter(|(id, _)| !received.contains(&(*id as u64)));
    for times in missing.filter_map(|(_, times)| times.as_ref()) {
        // Of the clocks, and of what was read when the connection ended.
        const SLACK: Duration = Duration::from_millis(50);
        let told = gaps
            .iter()
            .any(|gap| gap.ended - gap.duration - SLACK <= times.end && times.start <= gap.ended + SLACK);
        assert!(told, "shard {shard}: published at {times:?}, and not received, but in no gap: {gaps:?}");
    }
}
