//! Completions and manual pages, generated from the description of the arguments.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::arguments::{Arguments, EXAMPLE};
use crate::exit::{self, Coded};
use crate::stdout::print;

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to print the script for
    shell: Shell,
}

/// The arguments of `man`.
///
/// Packages install one page per command: `man --dir DIR` writes them all.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Subcommand whose page to print [default: the program itself]
    #[arg(value_name = "SUBCOMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write one page per subcommand to this directory instead, as packages install them:
    /// redis-consumer-group.1, redis-consumer-group-run.1 and so on
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints the completions for a shell.
pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print(&script).map(|()| ExitCode::SUCCESS)
}

/// Prints a manual page, or writes all of them.
pub(crate) fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let mut all = documented();
    // Gives each subcommand its full name.
    all.build();
    if let Some(dir) = &args.dir {
        write_all(&all, dir).with_context(|| format!("cannot write manual pages to {}", dir.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = &all;
    for name in &args.command {
        let Some(found) = command.find_subcommand(name).filter(|found| !found.is_hide_set()) else {
            let text = format!("{name:?} is not a subcommand of {}; see --help", command.get_name());
            bail!(Coded { code: exit::USAGE, text });
        };
        command = found;
    }
    let mut text = Vec::new();
    page(command).render(&mut text).context("cannot render the manual page")?;
    print(&text).map(|()| ExitCode::SUCCESS)
}

/// Writes the pages of a command and of its subcommands.
fn write_all(command: &clap::Command, dir: &Path) -> io::Result<()> {
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        write_all(subcommand, dir)?;
    }
    page(command).generate_to(dir).map(drop)
}

fn page(command: &clap::Command) -> Man {
    let version = concat!("redis-consumer-group ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).source(version).manual("redis-consumer-group")
}

/// The commands with the example moved to the end: a manual page does not show `before_help`.
fn documented() -> clap::Command {
    let with_example = |command: clap::Command| {
        let notes = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        command.after_long_help(format!("{EXAMPLE}\n\n{notes}"))
    };
    with_example(Arguments::command()).disable_help_subcommand(true).mut_subcommand("run", with_example)
}
