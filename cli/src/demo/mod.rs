//! `demo`: a group at work, on a private server that is removed afterwards.
//!
//! ```text
//!   setup     the private server, and the load
//!     ├─ pubsub    one group in this process ◄── the publisher
//!     ├─ sharded   one group in this process, on a private cluster of six nodes ◄── the publisher; a slot moves, and
//!     │            a primary is killed
//!     └─ stream    two processes of this program ◄── the publisher; one of them is killed
//!          │          (processes: both of them; process: one)
//!   tally     compares the output with what was published
//!     │
//!   verdict   the table at the end, and the next commands to try
//! ```

mod process;
mod processes;
mod pubsub;
mod setup;
mod sharded;
mod stream;
mod tally;
mod verdict;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};

use self::verdict::Verdict;
use crate::options::{Log, LogFormat, positive_duration};
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::{finish, say};
use crate::{exit, log};

/// Show a group at work, on a private server that is removed afterwards
///
/// Starts the valkey-server or redis-server on PATH (or the one named by REDIS_SERVER) as a private process, a group of
/// 3 consumers, and a publisher. At the end, demo counts the messages in the output. With --source stream, the group has
/// two processes, and one is killed in the middle. With --source sharded, there is a cluster of three nodes, each with a
/// replica; a slot moves, and a node is killed. The exit code is 0 if no message was lost or duplicated (with --source
/// sharded: no message that was received).
#[derive(Debug, Clone, Args)]
pub(crate) struct DemoArgs {
    /// Where messages come from
    #[arg(long, value_enum, default_value = "pubsub")]
    source: Source,
    /// How long to publish
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = positive_duration)]
    duration: Duration,
}

/// The end of a demo.
struct End {
    /// The last text on stdout.
    verdict: String,
    next_steps: String,
    is_flawless: bool,
}

/// The kinds of demo. The first line of each is its help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Source {
    /// A channel, read by one process
    Pubsub,
    /// Sharded channels of a cluster; a slot moves and a node is killed
    Sharded,
    /// A stream, shared by two processes; one is killed and replaced
    Stream,
}

/// Runs the demo. When it returns, everything that it started has ended, also with an error and after a signal.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let filter = Targets::new().with_default(LevelFilter::WARN);
    let _written = log::start(&Log { filter, format: LogFormat::Text, quiet: false }, &[]);
    let stop = Stop::on_signals()?;
    let stdout = Stdout::new();
    let showing = async {
        Ok::<_, anyhow::Error>(match args.source {
            Source::Sharded => sharded::show(args.duration, &stop, &stdout).await?.map(sharded::Verdict::end),
            source => {
                let Some(setup) = setup::start(args.duration, &stop, &stdout).await? else { return Ok(None) };
                let verdict = match source {
                    Source::Stream => stream::show(setup).await?,
                    _ => pubsub::show(setup).await?,
                };
                verdict.map(Verdict::end)
            }
        })
    };
    let shown = tokio::select! {
        shown = showing => shown?,
        // Dropping the future ends everything that it started.
        () = stop.insisted() => {
            say("Stopped at once: nothing was counted.");
            return Ok(exit::FAILED.into());
        }
    };
    let Some(End { verdict, next_steps, is_flawless }) = shown else {
        say("Stopped before the first message.");
        return Ok(ExitCode::SUCCESS);
    };
    finish(stdout, verdict, &stop).await;
    say(next_steps);
    Ok(if is_flawless { ExitCode::SUCCESS } else { exit::FAILED.into() })
}
