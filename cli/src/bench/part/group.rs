//! The group under test, in a process of its own.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use redis_consumer_group::{
    self as library, Builder, Config, ConsumerGroup, JsonProcessor, Ledger, Processor, Shards, SourceKind,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::protocol::{
    Duty, Event, Finished, GROUP, Group, IDS, INPUT, OUTPUT, Order, REJECTED, SPILL, Start,
};
use super::watch::Watch;
use super::work::{Stuck, Working};
use super::{Orders, tell};
use crate::bench::clock;
use crate::bench::numbering::Numbering;
use crate::bench::overflow::Overflow;
use crate::bench::source::Source;

/// Runs the group until it is told to finish.
pub(super) async fn run(task: Group, orders: &mut Orders) -> anyhow::Result<()> {
    let watch = Arc::new(Watch::new(task.messages, Numbering::of(task.run), task.rate));
    let builder = ConsumerGroup::from_config(config(&task)?);
    if task.start == Start::WhenTold {
        tell(&Event::Ready);
        if orders.go().await?.is_none() {
            return Ok(());
        }
    }
    let starting = async {
        match task.duty {
            // Without work it is the very processor that users get.
            Duty::Record(work) if work.is_none() => started(builder, &watch).await,
            Duty::Record(work) => {
                let then = JsonProcessor::new();
                started(builder.processor_type(Working { work, then }), &watch).await
            }
            Duty::Never => started(builder.processor_type(Stuck), &watch).await,
        }
    };
    let mut group = tokio::select! {
        group = starting => group?,
        end = orders.end() => return end,
    };
    tell(&match task.start {
        Start::AtOnce => Event::Ready,
        Start::WhenTold => Event::Begun { at: clock::now(), cpu: clock::process_cpu() },
    });
    let mut most_in_spill = 0;
    if !until_the_end(&mut group, &task, &watch, &mut most_in_spill, orders).await? {
        return give_up(group).await;
    }
    let ledger = group.shutdown().await?;
    tell(&Event::Finished(Box::new(finished(&ledger, most_in_spill, &watch))));
    Ok(())
}

async fn started<P: Processor>(
    builder: Builder<P>,
    watch: &Arc<Watch>,
) -> Result<ConsumerGroup, redis_consumer_group::Error> {
    let watch = Arc::clone(watch);
    builder.on_append(move |commit| watch.see(commit)).start().await
}

fn config(task: &Group) -> anyhow::Result<Config> {
    let mut config = Config::default();
    (config.address, config.tls) = task.place.open()?;
    config.consumers = task.consumers;
    config.buffer = task.buffer;
    config.max_payload = task.max_payload;
    config.source = match task.source {
        Source::Pubsub => SourceKind::PubSub,
        Source::Stream => SourceKind::Stream,
        Source::Sharded => SourceKind::Sharded,
    };
    config.shards = (task.source == Source::Sharded).then(|| shards(&task.shards));
    config.input = INPUT.to_owned();
    config.stream.group = GROUP.to_owned();
    if task.overflow == Overflow::Spill {
        config.overflow = library::Overflow::Spill;
        config.spill_key = Some(SPILL.to_owned());
        // There is room for all of them: what finds no room is dropped.
        config.spill_max = task.messages.max(1);
    }
    config.output = OUTPUT.to_owned();
    config.rejected = REJECTED.to_owned();
    config.ids_key = IDS.to_owned();
    if task.duty == Duty::Never {
        /// Waiting longer finishes nothing more.
        const DRAIN: Duration = Duration::from_millis(200);
        config.drain_timeout = DRAIN;
    }
    Ok(config)
}

/// These shards, whatever others there could be.
fn shards(numbers: &[u32]) -> Shards {
    let mut shards = Shards::new(numbers.iter().max().map_or(0, |last| last + 1));
    shards.tags = true;
    shards.only = Some(numbers.iter().copied().collect());
    shards
}

/// Tells how far the group is. Whether it shall finish: otherwise the bench is gone.
async fn until_the_end(
    group: &mut ConsumerGroup,
    task: &Group,
    watch: &Watch,
    most_in_spill: &mut u64,
    orders: &mut Orders,
) -> anyhow::Result<bool> {
    /// Often enough to see that nothing more comes, and to watch.
    const EVERY: Duration = Duration::from_millis(250);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    /// Often enough to see how full a spill becomes.
    const LOOKS: Duration = Duration::from_millis(10);
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let spills = task.overflow == Overflow::Spill;
    let (mut told, mut complete) = (0, None);
    loop {
        tokio::select! {
            order = orders.next() => match order? {
                Some(Order::Go { at }) => {
                    watch.begin(at);
                    tell(&Event::Begun { at: clock::now(), cpu: clock::process_cpu() });
                }
                Some(Order::Look) => tell(&Event::Looked { at: clock::now(), cpu: clock::process_cpu() }),
                Some(Order::Finish) => return Ok(true),
                None => return Ok(false),
            },
            all = watch.complete() => complete = all,
            _ = looks.tick(), if spills => {
                let now = u64::try_from(group.ledger().in_the_spill()).unwrap_or(0);
                *most_in_spill = now.max(*most_in_spill);
            }
            // A group that has nothing to do is not woken for this.
            _ = ticks.tick(), if task.messages > 0 => {
                let messages = match task.duty {
                    Duty::Record(_) => watch.confirmed(),
                    Duty::Never => group.ledger().received,
                };
                if messages != told {
                    tell(&Event::Progress { messages });
                    told = messages;
                }
            }
            ended = group.join() => {
                ended?;
                bail!("the group ended in the middle of a run; please report that");
            }
        }
        if let Some(appended) = complete.take_if(|_| !spills || has_nothing_left(&group.ledger())) {
            tell(&Event::Appended(appended));
        }
    }
}

/// Whether nothing waits any more, in the group or in the spill.
fn has_nothing_left(ledger: &Ledger) -> bool {
    ledger.in_the_spill() == 0 && ledger.in_flight() == 0
}

/// Ends the group at once. It takes back its ids and lanes.
async fn give_up(mut group: ConsumerGroup) -> anyhow::Result<()> {
    /// Ten thousand ids take a while.
    const LIMIT: Duration = Duration::from_secs(13);
    group.abort();
    // Nobody is left who would want to hear how that went.
    let _ = timeout(LIMIT, group.join()).await;
    Ok(())
}

fn finished(ledger: &Ledger, most_in_spill: u64, watch: &Watch) -> Finished {
    Finished {
        received: ledger.received,
        processed: ledger.processed,
        rejected: ledger.rejected,
        dropped: ledger.dropped,
        abandoned: ledger.abandoned,
        gaps: ledger.gaps.count,
        spilled: ledger.spilled,
        drained: ledger.drained,
        most_in_spill,
        causes: ledger.gaps.latest.iter().map(|gap| gap.cause.clone()).collect(),
        last: watch.last(),
        peak_memory: peak_memory(),
        latency: watch.latency(),
    }
}

/// The most memory that this process has had, in bytes. Only Linux tells.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
