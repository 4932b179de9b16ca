//! The options that say which server to use: the same for every subcommand.

use clap::Args;
use redis_consumer_group::{Address, Tls};

use crate::options::{CONNECTION, Flags, Group, Layers, Selection, Settings, Variables};
use crate::talk;

/// The options of a connection. Flatten it into the arguments of a subcommand, and call
/// [`ConnectionArgs::resolve`] when it runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    flags: Flags<Connection>,
}

impl ConnectionArgs {
    /// The server and its certificates: flags over variables over the file over the default. Warns of variables
    /// that look like ours and are none.
    ///
    /// # Errors
    /// When a value cannot be used; the text names where it came from, never the password.
    pub(crate) fn resolve(&self) -> anyhow::Result<(Address, Tls)> {
        let layers = Layers::new(self.flags.texts().clone(), Variables::of_process())?;
        talk::warn(&layers.warnings());
        let config = Settings::read(&layers, CONNECTION)?.config;
        Ok((config.address, config.tls))
    }
}

#[derive(Debug, Clone)]
struct Connection;

impl Selection for Connection {
    const GROUPS: &'static [Group] = CONNECTION;
}
