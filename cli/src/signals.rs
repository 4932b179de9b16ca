//! SIGINT and SIGTERM.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// SIGINT and SIGTERM. Once this exists, neither kills the process.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    seen: u32,
    last: Option<(&'static str, Instant)>,
}

/// The same signal again within this time counts once: `timeout` and some supervisors signal the process, and then its
/// process group.
const SAME: Duration = Duration::from_millis(200);

impl Signals {
    /// # Errors
    /// If the signal handlers cannot be installed.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for SIGINT and SIGTERM");
        let (interrupt, terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, seen: 0, last: None })
    }

    /// Waits for the next signal and returns its name. Cancel safe.
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

    /// The number of signals so far.
    pub(crate) fn seen(&self) -> u32 {
        self.seen
    }
}
