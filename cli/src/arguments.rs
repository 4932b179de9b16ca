//! The command line and its subcommands.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::{self, BenchArgs};
use crate::demo::{self, DemoArgs};
use crate::generate::{self, CompletionsArgs, ManArgs};
use crate::ids::{self, IdsArgs};
use crate::load::{self, LoadArgs};
use crate::publish::{self, PublishArgs};
use crate::rejected::{self, RejectedArgs};
use crate::run::{self, RunArgs};
use crate::secret::without_credentials;

pub(crate) const EXAMPLE: &str = "\
Example:
  redis-consumer-group --redis-addr localhost:6379 --consumers 4
  redis-cli PUBLISH messages:published '{\"message_id\":\"67e55044\"}'
  redis-cli XRANGE messages:processed - + COUNT 3";

/// The usual help, with the example before the usage.
const TEMPLATE: &str = "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

const AFTER_HELP: &str = "--help shows all options.";

const AFTER_LONG_HELP: &str = "\
Every option is also an environment variable (--redis-addr is RCG_REDIS_ADDR) and a key of the file given with --config \
(redis-addr). A flag overrides a variable, a variable overrides the file.

Exit codes: 0 success; 1 messages were abandoned, or another failure; 2 usage; 69 Redis is not reachable or not ready; \
77 refused by Redis; 78 configuration, or a key of the wrong type.";

/// Competing consumers for Redis Pub/Sub and streams
///
/// Each message is processed by exactly one consumer of the group, and the result is appended to a stream. Without a
/// subcommand, the program acts as run.
#[derive(Debug, Parser)]
#[command(
    name = "redis-consumer-group",
    version,
    args_conflicts_with_subcommands = true,
    help_template = TEMPLATE,
    before_help = EXAMPLE,
    after_help = AFTER_HELP,
    after_long_help = AFTER_LONG_HELP
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a group until SIGINT or SIGTERM
    #[command(
        help_template = TEMPLATE,
        before_help = EXAMPLE,
        after_help = AFTER_HELP,
        after_long_help = AFTER_LONG_HELP
    )]
    Run(RunArgs),
    Publish(PublishArgs),
    Load(LoadArgs),
    Bench(Box<BenchArgs>),
    Demo(DemoArgs),
    /// List the ids of living consumers, or remove them
    Ids(IdsArgs),
    /// List rejected messages, process them again, or remove them
    Rejected(Box<RejectedArgs>),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
    /// Print a manual page, or write all of them to a directory
    Man(ManArgs),
    /// A child process of a bench
    #[command(name = bench::PROCESS, hide = true)]
    BenchPart,
}

impl Arguments {
    /// Reads the arguments of this process. Prints help or a usage error and then returns the exit code as `Err`.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|error| {
            let text = error.render().to_string();
            // The help never repeats a given value; an error may.
            let masked = if error.use_stderr() { without_credentials(&text) } else { text.clone() };
            // Nothing can be done if stdout or stderr is closed.
            let _ = if masked == text { error.print() } else { io::stderr().write_all(masked.as_bytes()) };
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(crate::exit::USAGE))
        })
    }

    /// Runs the subcommand to its end.
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command.unwrap_or(Command::Run(self.run)) {
            Command::Run(args) => run::run(args).await,
            Command::Publish(args) => publish::run(args).await,
            Command::Load(args) => load::run(args).await,
            Command::Bench(args) => bench::run(*args).await,
            Command::Demo(args) => demo::run(args).await,
            Command::Ids(args) => ids::run(args).await,
            Command::Rejected(args) => rejected::run(*args).await,
            Command::Completions(args) => generate::completions(&args),
            Command::Man(args) => generate::man(&args),
            Command::BenchPart => bench::run_role().await,
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
