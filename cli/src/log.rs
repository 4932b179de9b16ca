//! The log on stderr.

use std::env;
use std::fmt::Debug;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tracing::field::Field;
use tracing::{error, warn};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{self, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::exit;
use crate::options::{Log, LogFormat};

/// The maximum number of lines that wait for a slow reader of stderr. Further lines are discarded.
const WAITING: usize = 4096;

/// Logs to stderr from now on, beginning with these warnings, until the guard is dropped.
///
/// A separate thread writes: a full pipe blocks its writer, and must not block reading or committing messages.
#[must_use = "what waits is written when the guard is dropped"]
pub(crate) fn start(log: &Log, warnings: &[String]) -> (WorkerGuard, Filter) {
    let (filter, handle) = reload::Layer::new(log.effective());
    // By default the layer reports a failed write with `eprintln!`, which panics if stderr is closed.
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).finish(io::stderr());
    let lines = fmt::layer().with_writer(writer).with_ansi(colours()).log_internal_errors(false);
    let lines = match log.format {
        LogFormat::Text => lines.with_target(false).fmt_fields(format::debug_fn(message_only)).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    for warning in warnings {
        warn!("{warning}");
    }
    (guard, Filter(handle))
}

/// Changes the level of the running log.
pub(crate) struct Filter(reload::Handle<Targets, Registry>);

impl Filter {
    pub(crate) fn set(&self, log: &Log) {
        // Fails only after the log has ended.
        let _ = self.0.reload(log.effective());
    }
}

/// Writes only the message, which contains all facts. The fields are for the format JSON.
fn message_only(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    if field.name() == "message" { write!(writer, "{value:?}") } else { Ok(()) }
}

/// Reports the error after all log lines: as a log line if the log is JSON, else as text.
pub(crate) fn fail(log: &Log, written: WorkerGuard, problem: &anyhow::Error) -> ExitCode {
    match log.format {
        LogFormat::Text => {
            drop(written);
            exit::failed(problem)
        }
        LogFormat::Json => {
            error!("{}", exit::text(problem));
            exit::code(problem).into()
        }
    }
}

/// Whether stderr is a terminal whose user wants colors (<https://no-color.org>).
fn colours() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
