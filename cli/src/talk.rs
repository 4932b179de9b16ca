//! The output of a subcommand without a log: its last line on stdout, and messages on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use tokio::time::sleep;

use crate::printable::printable;
use crate::stdout::Stdout;
use crate::stop::Stop;

/// Prints one line to stderr. A failed write is ignored.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints warnings to stderr.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        say(format_args!("warning: {}", printable(warning)));
    }
}

/// Writes the last line. Waits for a reader that has stopped reading until a second signal comes.
pub(crate) async fn finish(stdout: Stdout, last: String, stop: &Stop) {
    // A reader that still reads has read the line by then.
    const ENOUGH: Duration = Duration::from_secs(1);
    let given_up = async {
        stop.insisted().await;
        sleep(ENOUGH).await;
    };
    tokio::select! {
        () = stdout.finish(last) => {},
        () = given_up => {},
    }
}
