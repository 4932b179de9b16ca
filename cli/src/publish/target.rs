//! Where messages go.

use clap::ValueEnum;

/// The channel or the stream of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// How messages get there, and what that guarantees.
    pub(crate) to: To,
    /// Its name in Redis.
    pub(crate) name: String,
}

/// What takes the messages. The first line of each is the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// With PUBLISH: whoever is subscribed gets each message, and Redis keeps none
    ///
    /// So a message that the server confirmed may have reached nobody.
    Channel,
    /// With XADD: each message is an entry, which Redis keeps. The stream only grows
    ///
    /// A message that the server confirmed is there for whoever reads, also later, as far as Redis itself
    /// keeps its data.
    Stream,
}

impl Target {
    /// A channel.
    pub(crate) fn channel(name: impl Into<String>) -> Self {
        Self { to: To::Channel, name: name.into() }
    }

    /// A stream.
    pub(crate) fn stream(name: impl Into<String>) -> Self {
        Self { to: To::Stream, name: name.into() }
    }
}

impl To {
    /// The command that one message is.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Channel => "PUBLISH",
            Self::Stream => "XADD",
        }
    }
}
