//! The options that name the server, shared by all subcommands.

use clap::Args;
use redis_consumer_group::{Address, Tls};

use crate::options::{CONNECTION, Flags, Group, Selection};
use crate::talk;

/// The options of a connection. Flatten it into the arguments of a subcommand, and call
/// [`ConnectionArgs::resolve`] when it runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    flags: Flags<Connection>,
}

impl ConnectionArgs {
    /// Returns the server and its certificates: flags override variables, variables the file, the file the default.
    /// Warns of unknown `RCG_` variables.
    ///
    /// # Errors
    /// If a value is invalid. The text names the origin of the value, never the password.
    pub(crate) fn resolve(&self) -> anyhow::Result<(Address, Tls)> {
        let config = self.flags.config()?;
        Ok((config.address, config.tls))
    }

    /// Like [`ConnectionArgs::resolve`], but `None` if no layer has an option of the connection.
    ///
    /// # Errors
    /// As [`ConnectionArgs::resolve`].
    pub(crate) fn resolve_if_given(&self) -> anyhow::Result<Option<(Address, Tls)>> {
        let layers = self.flags.layers()?;
        if layers.has_any(CONNECTION)? {
            return self.resolve().map(Some);
        }
        talk::warn(&layers.warnings());
        Ok(None)
    }
}

#[derive(Debug, Clone)]
struct Connection;

impl Selection for Connection {
    const GROUPS: &'static [Group] = CONNECTION;
    const COMMON: &'static [&'static str] = &["redis-addr", "url", "password-file", "config"];
    const HEADING: Option<&'static str> = Some("Connection");
}
