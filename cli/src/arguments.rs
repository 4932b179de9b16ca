//! The command line: which subcommands there are.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::demo::{self, DemoArgs};
use crate::generate::{self, CompletionsArgs};
use crate::ids::{self, IdsArgs};
use crate::publish::{self, PublishArgs};
use crate::run::{self, RunArgs};
use crate::secret::without_credentials;

const AFTER_HELP: &str = "\
Each option is also a variable (--redis-addr is RCG_REDIS_ADDR) and a key of the file given with --config (redis-addr). \
A flag counts before a variable, a variable before the file.

Exit codes: 0 done; 1 something was abandoned, or failed; 2 usage; 69 Redis cannot be reached; 77 refused by Redis; \
78 configuration, or a key of the wrong type.";

/// Competing consumers for Redis Pub/Sub: each message is processed by exactly one of them, and the result is
/// appended to a stream. Without a subcommand, `run`.
#[derive(Debug, Parser)]
#[command(
    name = "redis-consumer-group",
    version,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the group until SIGINT or SIGTERM
    #[command(after_help = AFTER_HELP)]
    Run(RunArgs),
    Publish(PublishArgs),
    Bench(Box<BenchArgs>),
    Demo(DemoArgs),
    /// List the ids of the consumers that are alive, or remove them
    Ids(IdsArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man,
    /// A part of a bench, which starts it
    #[command(name = bench::PART, hide = true)]
    BenchPart,
}

impl Arguments {
    /// Reads the arguments of this process. What only wants to be shown, or is wrong, is an end.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let text = error.render().to_string();
            // The help repeats nothing that was given.
            let masked = if error.use_stderr() { without_credentials(&text) } else { text.clone() };
            // Nobody is left to be told that the help could not be written.
            let _ = if masked == text { error.print() } else { io::stderr().write_all(masked.as_bytes()) };
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(crate::exit::USAGE))
        })
    }

    /// Runs the subcommand to its end.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command.unwrap_or(Command::Run(self.run)) {
            Command::Run(args) => run::run(args).await,
            Command::Publish(args) => publish::run(args).await,
            Command::Bench(args) => bench::run(*args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Ids(args) => ids::run(args).await,
            Command::Completions(args) => generate::completions(&args),
            Command::Man => generate::man(),
            Command::BenchPart => bench::run_part().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_description_of_the_arguments_is_consistent() {
        Arguments::command().debug_assert();
    }
}
