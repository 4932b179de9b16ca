//! SIGHUP: reads the configuration again and applies the options that can change while the group runs.

use anyhow::Context;
use redis_consumer_group::Config;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{Level, info, warn};

use crate::log::Filter;
use crate::options::{Log, Settings};

/// Reads the configuration again at each SIGHUP. Once this exists, the signal does not end the process.
pub(crate) struct Reload {
    hangups: Signal,
    read: Box<dyn Fn() -> anyhow::Result<Settings> + Send>,
    filter: Filter,
    /// The configuration at the start.
    config: Config,
    log: Log,
}

impl Reload {
    /// # Errors
    /// If the signal handler cannot be installed.
    pub(crate) fn new(
        read: impl Fn() -> anyhow::Result<Settings> + Send + 'static,
        settings: &Settings,
        filter: Filter,
    ) -> anyhow::Result<Self> {
        let hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        Ok(Self {
            hangups,
            read: Box::new(read),
            filter,
            config: settings.config.clone(),
            log: settings.log.clone(),
        })
    }

    /// Waits for the next SIGHUP. Cancel safe.
    pub(crate) async fn asked(&mut self) {
        self.hangups.recv().await;
    }

    /// Reads the configuration again and logs what changed. An invalid configuration changes nothing.
    pub(crate) fn reload(&mut self) {
        let settings = match (self.read)() {
            Ok(settings) => settings,
            Err(error) => return warn!("SIGHUP: the configuration was not read again: {error}"),
        };
        let (before, now) = (self.log.effective(), settings.log.effective());
        if now != before {
            let tell = || info!("SIGHUP: the log level is now {now}");
            // Log this line under the level that shows it, if either does.
            let is_shown = before.would_enable(module_path!(), &Level::INFO);
            is_shown.then(tell);
            self.filter.set(&settings.log);
            (!is_shown).then(tell);
            self.log = settings.log;
        }
        info!(
            "SIGHUP: read the configuration again (the password file and certificates are read at every connect)"
        );
        if settings.config != self.config {
            warn!("SIGHUP: other options have changed; they take effect at the next start");
        }
    }
}
