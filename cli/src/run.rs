//! `run`: the group, from its start to the ledger.

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use redis_consumer_group::{Config, Consumer, ConsumerGroup, Error, Figures, Ledger, SourceKind};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::exit;
use crate::log;
use crate::options::{COMMON, Flags, Group, RUN, Selection, Settings};
use crate::reload::Reload;
use crate::report::{Due, Form, Reporter, of_shards};
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
        warn!("the stop took longer than --drain-timeout; raise it so that nothing is abandoned");
    }
    if settings.config.source == SourceKind::Rejected && ledger.received == 0 && failure.is_none() {
        info!("there was no message to replay");
    }
    let shards = of_shards(group.handle());
    for Figures { shard, ledger, .. } in &shards {
        info!("shard {}: {ledger}", shard.unwrap_or_default());
    }
    finish(stdout, form.ledger(&group.handle().figures(), &shards), &mut signals).await;
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

/// Starts the group. `None` if a signal came first. A second signal does not wait until the start has removed its ids.
async fn start(config: &Config, signals: &mut Signals) -> Result<Option<ConsumerGroup>, Error> {
    let asked = CancellationToken::new();
    let starting = ConsumerGroup::from_config(config.clone()).start_until(asked.cancelled());
    let insisted = async {
        let signal = signals.next().await;
        info!(event = "signal", "{signal} during the start: stopping");
        asked.cancel();
        signals.next().await
    };
    tokio::select! {
        started = starting => started,
        _ = insisted => Ok(None),
    }
}

/// Logs the consumers that started.
fn announce(group: &ConsumerGroup, config: &Config) {
    /// With more consumers than this, only the level debug logs a line for each.
    const ALL: usize = 20;
    const SOME: usize = 3;
    let consumers = group.handle().consumers();
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
                    warn!("stdout was closed; continuing without reports");
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

/// Writes the last line and waits for a slow reader, with a limit. The ledger is in the log, too.
async fn finish(stdout: Stdout, last: String, signals: &mut Signals) {
    const LIMIT: Duration = Duration::from_secs(5);
    tokio::select! {
        _ = timeout(LIMIT, stdout.finish(last)) => {},
        _ = signals.next() => {},
    }
}
