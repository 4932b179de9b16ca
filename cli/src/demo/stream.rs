//! The demo of a stream: two processes share it, and one of them is killed.

use std::cell::RefCell;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, Value};
use redis_consumer_group::Config;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::processes::Processes;
use super::show::{CONSUMERS, Stage, unless_asked};
use super::tally::Tally;
use super::verdict::{Accounts, Verdict};
use crate::publisher::Target;
use crate::talk::say;

/// Entries that are there before anybody reads.
const BACKLOG: u64 = 5000;
/// Entries that come at once in the middle, so that both processes have their hands full.
const BURST: u64 = 20_000;
/// How long the processes may take for what is left at the end: a lease, and the work of a slow machine.
const REST: Duration = Duration::from_secs(30);

/// Shows it. `None` when a stop was asked for before the first message.
pub(super) async fn show(mut stage: Stage<'_>) -> anyhow::Result<Option<Verdict>> {
    let to = Target::stream(&stage.config.input);
    let ids = RefCell::new(Vec::new());
    let sent = |id: Uuid| ids.borrow_mut().push(id);
    let (input, output) = (stage.config.input.clone(), stage.config.output.clone());
    stage.publish_at_once(to.clone(), BACKLOG, sent).await?;
    say(format_args!("{} messages are in the stream {input}, which nobody reads yet.", ids.borrow().len()));
    let Some(processes) =
        unless_asked(stage.stop, Processes::start(stage.server.addr(), stage.server.guard())).await
    else {
        return Ok(None);
    };
    let mut processes = processes?;
    let [one, other] = processes.pids();
    say(format_args!(
        "Processes {one} and {other}, of {CONSUMERS} consumers each, share it and append to {output}."
    ));
    stage.announce_load();

    let over = CancellationToken::new();
    let publishing = async {
        let published = stage.publish_evenly(to.clone(), sent).await;
        over.cancel();
        published
    };
    let killing = async {
        watch(&mut processes, &over, stage.duration / 2).await?;
        if !stage.stop.is_asked() {
            let replacing = async {
                both_have_their_hands_full(&stage).await?;
                processes.replace_one().await
            };
            tokio::try_join!(stage.publish_at_once(to.clone(), BURST, sent), replacing)?;
        }
        watch(&mut processes, &over, Duration::MAX).await
    };
    tokio::try_join!(publishing, killing, report(&stage, &over))?;

    let ids = ids.into_inner();
    tokio::select! {
        done = timeout(REST, all_processed(&stage, ids.len() as u64)) => if let Ok(done) = done { done? },
        error = processes.ended() => return Err(error),
    }
    let accounts = processes.finish().await?;
    let consumers: Vec<_> = accounts.iter().flat_map(|account| account.consumers.clone()).collect();
    let tally = Tally::of_stream(&mut stage.connection, &output, &ids, &consumers).await?;
    let server = stage.server.binary().to_owned();
    Ok(Some(Verdict { tally, accounts: Accounts::OfProcesses(accounts), output, server }))
}

/// Waits until it is over, or for so long.
///
/// # Errors
/// When one of the processes ends meanwhile.
async fn watch(processes: &mut Processes, over: &CancellationToken, limit: Duration) -> anyhow::Result<()> {
    tokio::select! {
        error = processes.ended() => Err(error),
        _ = timeout(limit, over.cancelled()) => Ok(()),
    }
}

/// Says now and then how far they are.
async fn report(stage: &Stage<'_>, over: &CancellationToken) -> anyhow::Result<()> {
    let mut connection = stage.connection.clone();
    let mut reports = stage.reports();
    while over.run_until_cancelled(reports.tick()).await.is_some() {
        let lost = |error| stage.unreachable(&error);
        let processed = length(&mut connection, &stage.config.output).await.map_err(lost)?;
        let pending: u64 = pending(&mut connection, &stage.config).await.map_err(lost)?.iter().sum();
        stage.stdout.line(format!("Processed {processed} messages so far; {pending} are pending."));
    }
    Ok(())
}

/// Waits until both processes hold some entries at once: then each of them is in the middle of something.
async fn both_have_their_hands_full(stage: &Stage<'_>) -> anyhow::Result<()> {
    const SOME: u64 = 50;
    /// Two that are too quick for that are good for the rest of the demo as well.
    const LIMIT: Duration = Duration::from_secs(1);
    let mut connection = stage.connection.clone();
    let end = Instant::now() + LIMIT;
    let mut looks = interval(Duration::from_millis(1));
    loop {
        looks.tick().await;
        let pending = pending(&mut connection, &stage.config).await?;
        let busy = pending.iter().filter(|pending| **pending >= SOME).count();
        if busy == 2 || Instant::now() >= end {
            return Ok(());
        }
    }
}

/// Waits until so many messages are in the output, and nothing is left of the input.
async fn all_processed(stage: &Stage<'_>, messages: u64) -> anyhow::Result<()> {
    let mut connection = stage.connection.clone();
    let mut looks = interval(Duration::from_millis(20));
    loop {
        looks.tick().await;
        let done = length(&mut connection, &stage.config.output).await? >= messages;
        if done && pending(&mut connection, &stage.config).await?.is_empty() {
            return Ok(());
        }
    }
}

async fn length(connection: &mut MultiplexedConnection, stream: &str) -> RedisResult<u64> {
    redis::cmd("XLEN").arg(stream).query_async(connection).await
}

/// How many entries are pending, for each process for which there are any.
async fn pending(connection: &mut MultiplexedConnection, config: &Config) -> RedisResult<Vec<u64>> {
    type Summary = (u64, Value, Value, Option<Vec<(String, u64)>>);
    let mut ask = redis::cmd("XPENDING");
    ask.arg(&config.input).arg(&config.stream.group);
    let (_, _, _, consumers): Summary = ask.query_async(connection).await?;
    Ok(consumers.unwrap_or_default().into_iter().map(|(_, pending)| pending).collect())
}
