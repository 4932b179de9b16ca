//! The show: server, group and publisher, from their start to their end.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, bail};
use redis::aio::MultiplexedConnection;
use redis_consumer_group::client::connect;
use redis_consumer_group::{Config, ConsumerGroup};
use redis_private_server::PrivateServer;
use tokio::time::{Instant, interval_at};
use uuid::Uuid;

use super::tally::Tally;
use super::verdict::Verdict;
use crate::ledger::Form;
use crate::publish::{Failure, Load, Pace, Payload, Rate, Target, explain, publish};
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::say;

/// Messages a second.
const RATE: u32 = 2000;
/// Consumers of the group.
const CONSUMERS: usize = 3;

/// Publishes and processes for so long, or until a stop is asked for, and counts what came of it. `None` when
/// the stop came before the first message.
///
/// Owns the server and the group: when this future is dropped, both end.
pub(super) async fn show(
    duration: Duration,
    stop: &Stop,
    stdout: &Stdout,
) -> anyhow::Result<Option<Verdict>> {
    say("Starting a private server …");
    let Some(server) = unless_asked(stop, PrivateServer::builder().start()).await else { return Ok(None) };
    let server = server?;
    say(format_args!("{} ({}) runs at {}.", server.version(), server.binary().display(), server.addr()));

    let mut config = Config::default();
    config.address = server.url().parse()?;
    config.consumers = CONSUMERS;
    let starting = async {
        let group = ConsumerGroup::from_config(config.clone()).start().await?;
        let connection = connect(&config.address, &config.tls).await?;
        anyhow::Ok((group, connection))
    };
    let Some(started) = unless_asked(stop, starting).await else { return Ok(None) };
    let (mut group, mut connection) = started?;
    let consumers: Vec<_> = group.consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
    say(format_args!(
        "A group of {CONSUMERS} consumers reads {} and appends to {}.",
        config.input, config.output
    ));
    say(format_args!("Publishing {RATE} messages a second for {duration:?}. Ctrl-C ends it earlier.\n"));

    let ids = load(connection.clone(), duration, &config, &mut group, stop, stdout).await?;
    let ledger = group.shutdown().await.context("the group could not finish")?;
    let tally = Tally::of_stream(&mut connection, &config.output, &ids, &consumers).await?;
    Ok(Some(Verdict { tally, ledger, output: config.output, server: server.binary().to_owned() }))
}

/// Publishes, and reports what the group does meanwhile. The ids of what was published.
async fn load(
    connection: MultiplexedConnection,
    duration: Duration,
    config: &Config,
    group: &mut ConsumerGroup,
    stop: &Stop,
    stdout: &Stdout,
) -> anyhow::Result<Vec<Uuid>> {
    let load = Load {
        target: Target::channel(&config.input),
        payload_bytes: Payload::SHORTEST,
        pace: Pace::Even(Rate::from(RATE)),
        count: None,
        duration: Some(duration),
    };
    // As often as `run` does, but a few times in a short demo too.
    let every = (duration / 6).clamp(Duration::from_secs(1), Duration::from_secs(3));
    let mut reports = interval_at(Instant::now() + every, every);
    let mut ids = Vec::new();
    let confirmed = AtomicU64::new(0);
    let published = {
        let mut publishing = pin!(publish(connection, &load, stop, &confirmed, |id| ids.push(id)));
        loop {
            tokio::select! {
                published = &mut publishing => break published,
                ended = group.join() => {
                    ended.context("the group ended in the middle of the demo")?;
                    bail!("the group ended in the middle of the demo; please report that");
                }
                _ = reports.tick() => {
                    stdout.line(Form::Text.report(group.processed_last_second(), &group.ledger(), None));
                }
            }
        }
    };
    match published.failure {
        Some(Failure::Redis(error)) => Err(explain(&config.address.to_string(), &load.target, &error)),
        Some(failure) => Err(failure.into()),
        None if published.unanswered > 0 => bail!(
            "the server did not answer {} messages; try again when the machine is less busy",
            published.unanswered
        ),
        None => Ok(ids),
    }
}

/// `None` when a stop is asked for first.
async fn unless_asked<T>(stop: &Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.asked() => None,
        done = work => Some(done),
    }
}
