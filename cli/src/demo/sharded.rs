//! The demo of sharded channels: a private cluster in which a slot moves and a primary is killed.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use redis_consumer_group::client::{Names, Router};
use redis_consumer_group::{Config, ConsumerGroup, Ledger, Shards, SourceKind, Tls};
use redis_private_server::{PrivateCluster, PrivateServer};
use tokio::time::{Instant, interval, sleep, timeout};
use uuid::Uuid;

use super::End;
use super::setup::{CONSUMERS, RATE, client, plan, reports, unless_stopped};
use super::tally::Tally;
use crate::load::{Pace, Rate, generate};
use crate::publisher::{Connections, Progress, Sharding, Summary, Target, explain};
use crate::report::{Form, Reporter};
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::say;

/// Primaries, each with a replica.
const NODES: usize = 3;
const SHARDS: u32 = 6;
/// A primary that is silent for this long is replaced.
const NODE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the group may take for the rest at the end.
const REST: Duration = Duration::from_secs(20);

/// The result.
pub(super) struct Verdict {
    /// Messages that the cluster confirmed.
    published: u64,
    /// Messages that were sent to a node that died, so that it is unknown whether they were published.
    unknown: u64,
    shards: Vec<Account>,
    /// The command line client of the servers.
    client: &'static str,
}

/// The result of one shard.
struct Account {
    number: u32,
    /// The group's own count.
    ledger: Ledger,
    /// Counted from the output.
    tally: Tally,
}

/// Runs it. `None` if a signal came before the first message.
pub(super) async fn show(
    duration: Duration,
    stop: &Stop,
    stdout: &Stdout,
) -> anyhow::Result<Option<Verdict>> {
    say("Starting a private cluster of three nodes, each with a replica …");
    // The other nodes go on while one is down, which is not the default of a cluster.
    let node = || PrivateServer::builder().arg("cluster-require-full-coverage", "no");
    let starting = PrivateCluster::start(node, NODES, 1, NODE_TIMEOUT);
    let Some(cluster) = unless_stopped(stop, starting).await else { return Ok(None) };
    let mut cluster = cluster?;
    let first = &cluster.nodes()[0];
    let client = client(first.version());
    say(format_args!(
        "{} ({}) runs six times, first at {}.",
        first.version(),
        first.binary().display(),
        first.addr()
    ));

    let config = config(&cluster)?;
    let target = target(&config);
    let starting = async {
        let group = ConsumerGroup::from_config(config.clone()).start().await?;
        let connections = Connections::open(&config.address, &Tls::default(), &target).await?;
        anyhow::Ok((group, connections))
    };
    let Some(started) = unless_stopped(stop, starting).await else { return Ok(None) };
    let (mut group, connections) = started?;
    say(format_args!(
        "A group of {SHARDS} shards with {CONSUMERS} consumers each reads {0}:{{0}} and so on, and appends to {1}:{{0}} …",
        config.input, config.output
    ));
    say(format_args!(
        "Publishing {RATE} messages per second for {duration:?}. Press Ctrl-C to stop earlier.\n"
    ));

    let (mut ids, progress) = (Vec::new(), Progress::hidden());
    let plan = plan(target.clone(), Pace::Even(Rate::from(RATE)), None, Some(duration));
    let published = {
        let mut publishing = pin!(generate(connections, &plan, stop, &progress, |id| ids.push(id)));
        let mut incidents = pin!(incidents(&mut cluster, &config, duration, stop));
        let (mut reports, mut happened) = (reports(duration), false);
        let mut reporter = Reporter::new(Form::Text);
        loop {
            tokio::select! {
                published = &mut publishing => break published,
                incident = &mut incidents, if !happened => {
                    incident?;
                    happened = true;
                }
                ended = group.join() => {
                    ended.context("the group ended during the demo")?;
                    bail!("the group ended during the demo; please report it");
                }
                _ = reports.tick() => stdout.line(reporter.report(&group)),
            }
        }
    };
    if let Some(failure) = published.failure {
        return Err(explain(&config.address.to_string(), &target, failure));
    }
    // A killed node has been replaced by then.
    let _ = timeout(REST, all_settled(&group)).await;
    group.stop();
    group.join().await.context("the group could not finish")?;
    let mut accounts = Vec::new();
    for shard in group.handle().shards() {
        let number = shard.number().context("a shard without a number")?;
        let tally = tally(&config, number, &ids).await?;
        accounts.push(Account { number, ledger: shard.figures().ledger, tally });
    }
    let Summary { published, unconfirmed, not_published, .. } = published.summary;
    let unknown = unconfirmed + not_published;
    Ok(Some(Verdict { published, unknown, shards: accounts, client }))
}

fn sharding() -> Shards {
    let mut shards = Shards::new(SHARDS);
    shards.tags = true;
    shards
}

fn config(cluster: &PrivateCluster) -> anyhow::Result<Config> {
    let mut config = Config::default();
    config.address = cluster.url().parse()?;
    config.source = SourceKind::Sharded;
    config.shards = Some(sharding());
    config.consumers = CONSUMERS;
    Ok(config)
}

fn target(config: &Config) -> Target {
    let mut target = Target::channel(&config.input);
    target.sharding = Some(Sharding { shards: sharding(), by: None });
    target
}

/// Moves a slot, and later kills a primary.
async fn incidents(
    cluster: &mut PrivateCluster,
    config: &Config,
    duration: Duration,
    stop: &Stop,
) -> anyhow::Result<()> {
    let channel = |shard: u32| format!("{}:{{{shard}}}", config.input);
    if unless_stopped(stop, sleep(duration / 4)).await.is_none() {
        return Ok(());
    }
    let slot = cluster.slot_of(&channel(0)).await?;
    let from = cluster.primary_of(slot).await?;
    let to = (from + 1) % NODES;
    cluster.move_slot(slot, to).await?;
    say(format_args!(
        "Shard 0 has moved from {} to {}, with all of its keys.",
        cluster.nodes()[from].addr(),
        cluster.nodes()[to].addr()
    ));
    if unless_stopped(stop, sleep(duration / 4)).await.is_none() {
        return Ok(());
    }
    // The primary of a shard that did not move.
    let slot = cluster.slot_of(&channel(1)).await?;
    let doomed = cluster.primary_of(slot).await?;
    let address = cluster.nodes()[doomed].addr();
    cluster.node(doomed).kill()?;
    say(format_args!("The primary {address}, which has shard 1, is killed. Its replica will replace it."));
    Ok(())
}

/// Waits until nothing is in flight and no messages arrive any more.
async fn all_settled(group: &ConsumerGroup) {
    const QUIET: Duration = Duration::from_millis(300);
    let mut looks = interval(Duration::from_millis(20));
    let (mut received, mut since) = (0, Instant::now());
    loop {
        looks.tick().await;
        let ledger = group.ledger();
        if ledger.received != received || ledger.in_flight() > 0 {
            (received, since) = (ledger.received, Instant::now());
        } else if since.elapsed() >= QUIET {
            return;
        }
    }
}

async fn tally(config: &Config, shard: u32, ids: &[Uuid]) -> anyhow::Result<Tally> {
    let output = format!("{}:{{{shard}}}", config.output);
    let router = Router::new(&config.address, &config.tls, Names::Keys).await?;
    let (_, mut connection) = router.connect(&output).await?;
    Ok(Tally::of_stream(&mut connection, &output, ids, &[]).await?)
}

impl Account {
    /// Whether each received message is in the output once, except those that a failover has lost.
    fn is_flawless(&self) -> bool {
        let Self { ledger, tally, .. } = self;
        let kept = ledger.processed - ledger.lost;
        let settled = ledger.received == ledger.processed;
        settled && tally.processed == kept && tally.duplicated == 0 && tally.foreign == 0
    }
}

impl Verdict {
    pub(super) fn end(self) -> End {
        let is_flawless = self.shards.iter().all(Account::is_flawless);
        End { verdict: self.to_string(), next_steps: self.next_steps(), is_flawless }
    }

    fn next_steps(&self) -> String {
        let client = self.client;
        let program = std::env::args().next().unwrap_or_else(|| "redis-consumer-group".to_owned());
        let at = "--url redis://any-node:6379";
        format!(
            "
Everything that was started has ended. Next, with your own cluster, run each of these in its own terminal:

  {program} {at} --source sharded --shards {SHARDS} --shard-tags
  {program} load {at} --shards {SHARDS} --shard-tags --rate 2000 --duration 10s
  {client} -c -h any-node XRANGE 'messages:processed:{{0}}' - + COUNT 3"
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nCounted from the streams messages:processed:{{0}} and so on:\n")?;
        writeln!(f, "  Shard  Received  In the output  Twice  Repeated  Lost  Gaps")?;
        for Account { number, ledger, tally } in &self.shards {
            let gaps = match ledger.gaps.count {
                0 => "none".to_owned(),
                count => format!("{count}, {:.2?} together", ledger.gaps.total),
            };
            writeln!(
                f,
                "  {number:>5}  {:>8}  {:>13}  {:>5}  {:>8}  {:>4}  {gaps}",
                ledger.received, tally.processed, tally.duplicated, ledger.repeated, ledger.lost
            )?;
        }
        let received: u64 = self.shards.iter().map(|account| account.ledger.received).sum();
        writeln!(f, "\n  Published   {}", self.published)?;
        writeln!(f, "  Received    {received}; messages published during a gap of their shard are missed")?;
        if self.unknown > 0 {
            writeln!(
                f,
                "  Unknown     {}: sent to a node that died, or while no node served the shard",
                self.unknown
            )?;
        }
        let lost: u64 = self.shards.iter().map(|account| account.ledger.lost).sum();
        if lost > 0 {
            writeln!(f, "  Lost        {lost} in the failover: no longer kept, so not appended again")?;
        }
        let flawed = self.shards.iter().filter(|account| !account.is_flawless()).count();
        match flawed {
            0 => write!(f, "\nEach received message is in the output once."),
            flawed => {
                write!(f, "\nThe output of {flawed} shards differs from what was received. Please report it.")
            }
        }
    }
}
