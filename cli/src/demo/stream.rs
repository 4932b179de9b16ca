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
use super::setup::{CONSUMERS, Setup, client, unless_stopped};
use super::tally::Tally;
use super::verdict::{Accounts, Verdict};
use crate::publisher::Target;
use crate::talk::say;

/// Entries that exist before the group reads.
const BACKLOG: u64 = 5000;
/// Entries that are added at once in the middle, so that both processes are busy.
const BURST: u64 = 20_000;
/// How long the processes may take for the rest at the end: a lease, and the work of a slow machine.
const REST: Duration = Duration::from_secs(30);

/// Runs it. `None` if a signal came before the first message.
pub(super) async fn show(mut setup: Setup<'_>) -> anyhow::Result<Option<Verdict>> {
    let to = Target::stream(&setup.config.input);
    let ids = RefCell::new(Vec::new());
    let sent = |id: Uuid| ids.borrow_mut().push(id);
    let (input, output) = (setup.config.input.clone(), setup.config.output.clone());
    setup.publish_at_once(to.clone(), BACKLOG, sent).await?;
    say(format_args!("{} messages are in the stream {input}, which nobody reads yet.", ids.borrow().len()));
    let Some(processes) =
        unless_stopped(setup.stop, Processes::start(setup.server.addr(), setup.server.guard())).await
    else {
        return Ok(None);
    };
    let mut processes = processes?;
    let [one, other] = processes.pids();
    say(format_args!(
        "Processes {one} and {other} with {CONSUMERS} consumers each share it, and append to {output}."
    ));
    setup.announce_load();

    let done_publishing = CancellationToken::new();
    let publishing = async {
        let published = setup.publish_evenly(to.clone(), sent).await;
        done_publishing.cancel();
        published
    };
    let killing = async {
        watch(&mut processes, &done_publishing, setup.duration / 2).await?;
        if !setup.stop.is_asked() {
            let replacing = async {
                both_are_busy(&setup).await?;
                processes.replace_one().await
            };
            tokio::try_join!(setup.publish_at_once(to.clone(), BURST, sent), replacing)?;
        }
        watch(&mut processes, &done_publishing, Duration::MAX).await
    };
    tokio::try_join!(publishing, killing, report(&setup, &done_publishing))?;

    let ids = ids.into_inner();
    tokio::select! {
        done = timeout(REST, all_processed(&setup, ids.len() as u64)) => if let Ok(done) = done { done? },
        error = processes.unexpected_end() => return Err(error),
    }
    let accounts = processes.finish().await?;
    let consumers: Vec<_> = accounts.iter().flat_map(|account| account.consumers.clone()).collect();
    let tally = Tally::of_stream(&mut setup.connection, &output, &ids, &consumers).await?;
    let (server, client) = (setup.server.binary().to_owned(), client(setup.server.version()));
    Ok(Some(Verdict { tally, accounts: Accounts::OfProcesses(accounts), output, server, client }))
}

/// Waits until the publisher is done, at most for this time.
///
/// # Errors
/// If one of the processes ends.
async fn watch(
    processes: &mut Processes,
    done_publishing: &CancellationToken,
    limit: Duration,
) -> anyhow::Result<()> {
    tokio::select! {
        error = processes.unexpected_end() => Err(error),
        _ = timeout(limit, done_publishing.cancelled()) => Ok(()),
    }
}

/// Reports the progress.
async fn report(setup: &Setup<'_>, done_publishing: &CancellationToken) -> anyhow::Result<()> {
    let mut connection = setup.connection.clone();
    let mut reports = setup.reports();
    while done_publishing.run_until_cancelled(reports.tick()).await.is_some() {
        let lost = |error| setup.unreachable(&error);
        let processed = length(&mut connection, &setup.config.output).await.map_err(lost)?;
        let pending: u64 = pending(&mut connection, &setup.config).await.map_err(lost)?.iter().sum();
        setup.stdout.line(format!("Processed {processed} messages so far; {pending} are pending."));
    }
    Ok(())
}

/// Waits until both processes have pending entries at the same time, so that a kill interrupts work.
async fn both_are_busy(setup: &Setup<'_>) -> anyhow::Result<()> {
    const SOME: u64 = 50;
    /// If both are too fast for that, the demo goes on anyway.
    const LIMIT: Duration = Duration::from_secs(1);
    let mut connection = setup.connection.clone();
    let end = Instant::now() + LIMIT;
    let mut looks = interval(Duration::from_millis(1));
    loop {
        looks.tick().await;
        let pending = pending(&mut connection, &setup.config).await?;
        let busy = pending.iter().filter(|pending| **pending >= SOME).count();
        if busy == 2 || Instant::now() >= end {
            return Ok(());
        }
    }
}

/// Waits until this number of messages is in the output, and nothing is pending.
async fn all_processed(setup: &Setup<'_>, messages: u64) -> anyhow::Result<()> {
    let mut connection = setup.connection.clone();
    let mut looks = interval(Duration::from_millis(20));
    loop {
        looks.tick().await;
        let done = length(&mut connection, &setup.config.output).await? >= messages;
        if done && pending(&mut connection, &setup.config).await?.is_empty() {
            return Ok(());
        }
    }
}

async fn length(connection: &mut MultiplexedConnection, stream: &str) -> RedisResult<u64> {
    redis::cmd("XLEN").arg(stream).query_async(connection).await
}

/// The number of pending entries of each process that has any.
async fn pending(connection: &mut MultiplexedConnection, config: &Config) -> RedisResult<Vec<u64>> {
    type Summary = (u64, Value, Value, Option<Vec<(String, u64)>>);
    let mut ask = redis::cmd("XPENDING");
    ask.arg(&config.input).arg(&config.stream.group);
    let (_, _, _, consumers): Summary = ask.query_async(connection).await?;
    Ok(consumers.unwrap_or_default().into_iter().map(|(_, pending)| pending).collect())
}
