//! The end of a subcommand that has no log: its last line on stdout, and talk on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use tokio::time::sleep;

use crate::printable::printable;
use crate::stdout::Stdout;
use crate::stop::Stop;

/// Says one line. Where stderr is closed, nobody wanted to hear it.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says what is to be warned of.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        say(format_args!("warning: {}", printable(warning)));
    }
}

/// Writes the last line. A reader that takes nothing any more is waited for until a stop is insisted on.
pub(crate) async fn finish(stdout: Stdout, last: String, stop: &Stop) {
    // A reader that is there has read it by then.
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
