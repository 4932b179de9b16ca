//! `demo`: the whole thing at once, on a private server that is gone afterwards.
//!
//! ```text
//!   show      the private server, and what both kinds of demo have in common
//!     ├─ pubsub    one group in this process ◄── the publisher
//!     └─ stream    two processes of this program ◄── the publisher; one of them is killed
//!          │          (crew: the processes that run; process: one of them)
//!   tally     what is in the output, compared with what was published
//!     │
//!   verdict   the table at the end, and what to type next
//! ```

mod crew;
mod process;
mod pubsub;
mod show;
mod stream;
mod tally;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::options::{Log, LogFormat};
use crate::publish::some_time;
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::{finish, say};
use crate::{exit, log};

/// Show the whole thing at once, on a private server that is gone afterwards
///
/// Starts the valkey-server or redis-server on PATH (or the one that REDIS_SERVER names) as a private process, a
/// group of 3 consumers and a publisher, and counts at the end what is in the output. With --source stream the
/// group has two processes, one of which is killed in the middle. The exit code is 0 if nothing was lost and nothing
/// is there twice.
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// Where the messages come from
    #[arg(long, value_enum, default_value = "pubsub")]
    source: Source,
    /// How long to publish
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = some_time)]
    duration: Duration,
}

/// What is shown. The first line of each is the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A channel, read by one process
    Pubsub,
    /// A stream, shared by two processes, one of which is killed and replaced
    Stream,
}

/// Runs the demo. Whatever it started is gone when this returns, also with an error and after a signal.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let filter = Targets::new().with_default(LevelFilter::WARN);
    let _written = log::start(&Log { filter, format: LogFormat::Text, quiet: false }, &[]);
    let stop = Stop::on_signals()?;
    let stdout = Stdout::new();
    let shown = tokio::select! {
        shown = show::show(args.source, args.duration, &stop, &stdout) => shown?,
        // Dropping the show ends everything in it.
        () = stop.insisted() => {
            say("Stopped at once: nothing was counted.");
            return Ok(exit::FAILED.into());
        }
    };
    let Some(verdict) = shown else {
        say("Stopped before the first message.");
        return Ok(ExitCode::SUCCESS);
    };
    finish(stdout, verdict.to_string(), &stop).await;
    say(verdict.next_steps());
    Ok(if verdict.tally.is_flawless() { ExitCode::SUCCESS } else { exit::FAILED.into() })
}
