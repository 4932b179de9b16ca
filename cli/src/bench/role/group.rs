//! The group that is measured.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use redis_consumer_group::{
    self as library, Builder, Config, ConsumerGroup, JsonProcessor, Ledger, Processor, Shards, SourceKind,
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::protocol::{
    Event, Finished, GROUP, Group, IDS, INPUT, OUTPUT, Order, Processing, REJECTED, SPILL, Start,
};
use super::watch::Watch;
use super::work::{Stuck, Working};
use super::{Orders, send};
use crate::bench::numbering::Numbering;
use crate::bench::overflow::Overflow;
use crate::bench::report::Counts;
use crate::bench::source::Source;
use crate::clock;

/// Runs the group until the order to finish.
pub(super) async fn run(task: Group, orders: &mut Orders) -> anyhow::Result<()> {
    let watch = Arc::new(Watch::new(task.messages, Numbering::of(task.run), task.rate));
    let builder = ConsumerGroup::from_config(config(&task)?);
    if task.start == Start::WhenTold {
        send(&Event::Ready);
        if orders.go().await?.is_none() {
            return Ok(());
        }
    }
    let starting = async {
        match task.processing {
            // Without work, the default processor of the library.
            Processing::Record(work) if work.is_none() => started(builder, &watch).await,
            Processing::Record(work) => {
                let then = JsonProcessor::new();
                started(builder.with_processor(Working { work, then }), &watch).await
            }
            Processing::Never => started(builder.with_processor(Stuck), &watch).await,
        }
    };
    let mut group = tokio::select! {
        group = starting => group?,
        end = orders.end() => return end,
    };
    send(&match task.start {
        Start::AtOnce => Event::Ready,
        Start::WhenTold => Event::Started { at: clock::now(), cpu: clock::process_cpu() },
    });
    let mut most_in_spill = 0;
    if !until_finish(&mut group, &task, &watch, &mut most_in_spill, orders).await? {
        return abort(group).await;
    }
    let ledger = group.shutdown().await?;
    send(&Event::Finished(Box::new(finished(&ledger, most_in_spill, &watch))));
    Ok(())
}

async fn started<P: Processor>(
    builder: Builder<P>,
    watch: &Arc<Watch>,
) -> Result<ConsumerGroup, redis_consumer_group::Error> {
    let watch = Arc::clone(watch);
    builder.on_append(move |commit| watch.record(commit)).start().await
}

fn config(task: &Group) -> anyhow::Result<Config> {
    let mut config = Config::default();
    (config.address, config.tls) = task.endpoint.parse()?;
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
    if task.source == Source::Stream {
        config.stream.group = GROUP.to_owned();
    }
    if task.overflow == Overflow::Spill {
        config.overflow = library::Overflow::Spill;
        config.spill_key = Some(SPILL.to_owned());
        // Room for all messages: those without room would be dropped.
        config.spill_max = task.messages.max(1);
    }
    config.output = OUTPUT.to_owned();
    config.rejected = REJECTED.to_owned();
    config.ids_key = IDS.to_owned();
    if task.processing == Processing::Never {
        /// A longer wait would finish nothing more.
        const DRAIN: Duration = Duration::from_millis(200);
        config.drain_timeout = DRAIN;
    }
    Ok(config)
}

/// Only these shards.
fn shards(numbers: &[u32]) -> Shards {
    let mut shards = Shards::new(numbers.iter().max().map_or(0, |last| last + 1));
    shards.tags = true;
    shards.only = Some(numbers.iter().copied().collect());
    shards
}

/// Reports progress. `true` after the order to finish, `false` if the bench is gone.
async fn until_finish(
    group: &mut ConsumerGroup,
    task: &Group,
    watch: &Watch,
    most_in_spill: &mut u64,
    orders: &mut Orders,
) -> anyhow::Result<bool> {
    /// Often enough for the progress line, and to notice that nothing more comes.
    const EVERY: Duration = Duration::from_millis(250);
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    /// Often enough to see how full the spill gets.
    const LOOKS: Duration = Duration::from_millis(10);
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let spills = task.overflow == Overflow::Spill;
    let (mut reported, mut complete) = (0, None);
    loop {
        tokio::select! {
            order = orders.next() => match order? {
                Some(Order::Go { at }) => {
                    watch.begin(at);
                    send(&Event::Started { at: clock::now(), cpu: clock::process_cpu() });
                }
                Some(Order::ReportCpu) => send(&Event::Cpu { at: clock::now(), cpu: clock::process_cpu() }),
                Some(Order::Finish) => return Ok(true),
                None => return Ok(false),
            },
            all = watch.complete() => complete = all,
            _ = looks.tick(), if spills => {
                let now = u64::try_from(group.ledger().in_the_spill()).unwrap_or(0);
                *most_in_spill = now.max(*most_in_spill);
            }
            // An idle group is not woken for this.
            _ = ticks.tick(), if task.messages > 0 => {
                let messages = match task.processing {
                    Processing::Record(_) => watch.confirmed(),
                    Processing::Never => group.ledger().received,
                };
                if messages != reported {
                    send(&Event::Progress { messages });
                    reported = messages;
                }
            }
            ended = group.join() => {
                ended?;
                bail!("the group ended during a run; please report it");
            }
        }
        if let Some(appended) = complete.take_if(|_| !spills || has_nothing_left(&group.ledger())) {
            send(&Event::Appended(appended));
        }
    }
}

/// Whether nothing is waiting any more, in the group or in the spill.
fn has_nothing_left(ledger: &Ledger) -> bool {
    ledger.in_the_spill() == 0 && ledger.in_flight() == 0
}

/// Ends the group at once. It removes its ids and lanes.
async fn abort(mut group: ConsumerGroup) -> anyhow::Result<()> {
    /// Removing ten thousand ids takes a while.
    const LIMIT: Duration = Duration::from_secs(13);
    group.abort();
    // The bench is gone: there is nobody to report to.
    let _ = timeout(LIMIT, group.join()).await;
    Ok(())
}

fn finished(ledger: &Ledger, most_in_spill: u64, watch: &Watch) -> Finished {
    Finished {
        ledger: Counts::of(ledger, most_in_spill),
        causes: ledger.gaps.latest.iter().map(|gap| gap.cause.clone()).collect(),
        last: watch.last(),
        peak_memory: peak_memory(),
        latency: watch.latency(),
    }
}

/// The peak memory of this process, in bytes. Only Linux reports it.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
