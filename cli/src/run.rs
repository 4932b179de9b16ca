//! `run`: the group, from its start to the ledger.

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use redis_consumer_group::{Config, Consumer, ConsumerGroup, Error, Ledger};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::exit;
use crate::log;
use crate::options::{COMMON, Flags, Group, RUN, Selection, Settings};
use crate::reload::Reload;
use crate::report::{Due, Figures, Form, Reporter};
use crate::signals::Signals;
use crate::stdout::Stdout;

/// The arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    flags: Flags<Run>,
}

/// Runs a group until it ends or a signal stops it.
pub(crate) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    group(move || args.flags.settings()).await
}

/// Runs a group with the settings that `read` returns. It is called now and at each SIGHUP.
pub(crate) async fn group(
    read: impl Fn() -> anyhow::Result<Settings> + Send + 'static,
) -> anyhow::Result<ExitCode> {
    let settings = read()?;
    let (written, filter) = log::start(&settings.log, &settings.warnings);
    let mut signals = Signals::new()?;
    let mut reload = Reload::new(read, &settings, filter)?;
    let stdout = Stdout::new();
    let form = if settings.json { Form::Json } else { Form::Text };

    let group = match start(&settings.config, &mut signals).await {
        Ok(group) => group,
        Err(error) => return Ok(log::fail(&settings.log, written, &error.into())),
    };
    let Some(mut group) = group else {
        finish(stdout, form.ledger(&Figures::default(), &[]), &mut signals).await;
        return Ok(ExitCode::SUCCESS);
    };
    announce(&group, &settings.config);

    let end =
        until_the_end(&mut group, &mut signals, &mut reload, &stdout, form, settings.report_every).await;
    // `join` returns the error once, and the ledger when called again.
    let (failure, ledger) = match end.outcome {
        Ok(ledger) => (None, ledger),
        Err(error) => (Some(error), group.join().await?),
    };
    if ledger.abandoned > 0 && failure.is_none() && !end.forced {
        warn!("the stop took longer than --drain-timeout; a longer one abandons nothing");
    }
    let shards = Figures::of_shards(&group);
    for Figures { shard, ledger, .. } in &shards {
        info!("shard {}: {ledger}", shard.unwrap_or_default());
    }
    finish(stdout, form.ledger(&Figures::of(&group), &shards), &mut signals).await;
    Ok(match failure {
        // The log ends with it.
        Some(error) => log::fail(&settings.log, written, &error.into()),
        None if end.forced || ledger.abandoned > 0 => exit::FAILED.into(),
        None => ExitCode::SUCCESS,
    })
}

#[derive(Debug, Clone)]
struct Run;

impl Selection for Run {
    const GROUPS: &'static [Group] = RUN;
    const COMMON: &'static [&'static str] = COMMON;
}

/// How a group ended.
struct End {
    outcome: Result<Ledger, Error>,
    /// Whether a second signal cut it short.
    forced: bool,
}

/// Starts the group. `None` if a signal came first.
async fn start(config: &Config, signals: &mut Signals) -> Result<Option<ConsumerGroup>, Error> {
    let mut starting = Box::pin(ConsumerGroup::from_config(config.clone()).start());
    tokio::select! {
        started = &mut starting => return started.map(Some),
        signal = signals.next() => info!("{signal} during the start: ending"),
    }
    tokio::select! {
        group = given_up(starting) => Ok(group),
        _ = signals.next() => Ok(None),
    }
}

/// Ends a start that is under way. Its ids may be listed already: if it completes within a second, the group is stopped
/// in order; otherwise the start is dropped, and its thread then removes the ids.
async fn given_up(starting: impl Future<Output = Result<ConsumerGroup, Error>>) -> Option<ConsumerGroup> {
    const NEARLY_DONE: Duration = Duration::from_secs(1);
    /// The library's own limit for removing the ids. The thread does not report when it is done.
    const RELEASE: Duration = Duration::from_secs(2);
    match timeout(NEARLY_DONE, starting).await {
        Ok(Ok(group)) => {
            group.stop();
            Some(group)
        }
        // A start that fails removes its ids before it returns.
        Ok(Err(_)) => None,
        Err(_) => {
            sleep(RELEASE).await;
            None
        }
    }
}

/// Logs the consumers that started.
fn announce(group: &ConsumerGroup, config: &Config) {
    /// With more consumers than this, only the level debug logs a line for each.
    const ALL: usize = 20;
    const SOME: usize = 3;
    let consumers = group.consumers();
    let shown = if consumers.len() > ALL { SOME } else { consumers.len() };
    for consumer in &consumers[..shown] {
        info!(
            event = "consumer_started",
            consumer = consumer.id(),
            shard = consumer.shard(),
            "consumer {} started",
            Who(consumer)
        );
    }
    if shown < consumers.len() {
        info!(
            "and {} more consumers, {} in all; their ids are in {}",
            consumers.len() - shown,
            consumers.len(),
            config.sharding().map_or_else(|| config.ids_key.clone(), |shards| shards.names(&config.ids_key))
        );
    }
    for consumer in &consumers[shown..] {
        debug!("consumer {} started", Who(consumer));
    }
}

/// A consumer, and its shard if there are shards.
struct Who<'a>(&'a Consumer);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.id())?;
        self.0.shard().map_or(Ok(()), |shard| write!(f, " of shard {shard}"))
    }
}

/// Prints reports and passes on requests to stop, until the group has ended.
async fn until_the_end(
    group: &mut ConsumerGroup,
    signals: &mut Signals,
    reload: &mut Reload,
    stdout: &Stdout,
    form: Form,
    every: Duration,
) -> End {
    let (mut due, mut reporter) = (Due::new(every), Reporter::new(form));
    let (mut forced, mut reader_gone) = (false, false);
    loop {
        tokio::select! {
            biased;
            outcome = group.join() => return End { outcome, forced },
            signal = signals.next() => if signals.seen() > 1 {
                warn!(event = "signal", "{signal} again: stopping at once");
                forced = true;
                group.abort();
            } else {
                info!(event = "signal", "{signal}: finishing what was received; a second signal stops at once");
                group.stop();
            },
            () = stdout.closed(), if !reader_gone => {
                reader_gone = true;
                if in_a_pipeline() {
                    info!("stdout was closed: finishing what was received");
                    group.stop();
                } else {
                    warn!("stdout was closed; going on without reports");
                }
            },
            () = reload.asked() => reload.reload(),
            () = due.next() => stdout.line(reporter.report(group)),
        }
    }
}

/// Whether a user started this in a shell's pipeline, as in `… | head`: then a closed stdout means stop. A service has
/// no terminal, and goes on when the collector of its output dies.
fn in_a_pipeline() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

/// Writes the last line and waits for a slow reader, with a limit. If stdout is closed, the line goes to the log.
async fn finish(stdout: Stdout, last: String, signals: &mut Signals) {
    const LIMIT: Duration = Duration::from_secs(5);
    if stdout.is_closed() {
        info!("{last}");
    }
    tokio::select! {
        _ = timeout(LIMIT, stdout.finish(last)) => {},
        _ = signals.next() => {},
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_start_that_is_given_up_has_time_to_take_back_its_ids() {
        let begin = Instant::now();
        let (alive, dropped) = oneshot::channel::<()>();
        let starting = async move {
            let _alive = alive;
            pending().await
        };
        let (group, dropped_after) = tokio::join!(given_up(starting), async {
            let _ = dropped.await;
            begin.elapsed()
        });
        assert!(group.is_none());
        assert!(begin.elapsed() - dropped_after >= Duration::from_millis(1900), "{dropped_after:?}");
        assert!(begin.elapsed() >= Duration::from_secs(3));
    }
}
