//! The program `redis-consumer-group`.
mod arguments;
mod bench;
mod clock;
mod connection;
mod demo;
mod exit;
mod generate;
mod ids;
mod load;
mod log;
mod options;
mod pacing;
mod printable;
mod publish;
mod publisher;
mod rejected;
mod reload;
mod report;
mod run;
mod secret;
mod signals;
mod stdout;
mod stop;
mod talk;

use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    let arguments = match Arguments::read() {
        Ok(arguments) => arguments,
        Err(end) => return end,
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::failed(&anyhow::Error::from(error).context("cannot start threads")),
    };
    let end = runtime.block_on(arguments.run()).unwrap_or_else(|error| exit::failed(&error));
    // All tasks of ours have ended. Do not wait for a thread that is still resolving a host name.
    runtime.shutdown_background();
    end
}
