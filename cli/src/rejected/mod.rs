//! `rejected`: lists messages that could not be processed, processes them again, or removes them.

mod clear;
mod entry;
mod list;
mod reasons;
mod replay;
mod streams;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::clear::ClearArgs;
use self::list::ListArgs;
use self::replay::ReplayArgs;

/// The arguments of `rejected`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct RejectedArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(ListArgs),
    Replay(ReplayArgs),
    Clear(ClearArgs),
}

/// Runs the requested action.
pub(crate) async fn run(args: RejectedArgs) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::List(args) => list::run(args).await,
        Action::Replay(args) => replay::run(args).await,
        Action::Clear(args) => clear::run(args).await,
    }
}
