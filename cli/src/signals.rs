//! SIGINT and SIGTERM.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// The signals that ask for an end. From its making on, none of them kills the process.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    seen: u32,
    last: Option<(&'static str, Instant)>,
}

/// The same signal this soon after the last one is the same wish told twice: `timeout` and some supervisors signal the
/// process, and then its group.
const SAME: Duration = Duration::from_millis(200);

impl Signals {
    /// # Errors
    /// When the system refuses to tell us of signals.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for SIGINT and SIGTERM");
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, seen: 0, last: None })
    }

    /// Waits for the next one, and names it. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.interrupt.recv() => "SIGINT",
                _ = self.terminate.recv() => "SIGTERM",
            };
            let now = Instant::now();
            let before = self.last.replace((name, now));
            if before.is_none_or(|(last, when)| last != name || now - when >= SAME) {
                self.seen += 1;
                return name;
            }
        }
    }

    /// How many have come.
    pub(crate) fn seen(&self) -> u32 {
        self.seen
    }
}
