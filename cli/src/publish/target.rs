//! Where messages go.

use clap::ValueEnum;
use redis_consumer_group::Shards;

/// The channel or the stream of a load, or those of its shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// How messages get there, and what that guarantees.
    pub(crate) to: To,
    /// Its name in Redis; with shards, what comes before their numbers.
    pub(crate) name: String,
    pub(crate) sharding: Option<Sharding>,
}

/// How messages are dealt to shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sharding {
    pub(crate) shards: Shards,
    /// The member of a message whose value decides, so that equal ones come to one shard. Without one, they take turns.
    pub(crate) by: Option<String>,
}

/// What takes the messages. The first line of each is the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// With PUBLISH: whoever is subscribed gets each message, and Redis keeps none. With SPUBLISH where there are shards
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
        Self { to: To::Channel, name: name.into(), sharding: None }
    }

    /// A stream.
    pub(crate) fn stream(name: impl Into<String>) -> Self {
        Self { to: To::Stream, ..Self::channel(name) }
    }

    /// The names in Redis: one, or one for each shard that gets messages.
    pub(crate) fn names(&self) -> Vec<String> {
        match &self.sharding {
            Some(Sharding { shards, .. }) => {
                shards.here().map(|shard| shards.name(&self.name, shard)).collect()
            }
            None => vec![self.name.clone()],
        }
    }

    /// The command that one message is.
    pub(crate) fn command(&self) -> &'static str {
        match (self.to, &self.sharding) {
            (To::Channel, None) => "PUBLISH",
            (To::Channel, Some(_)) => "SPUBLISH",
            (To::Stream, _) => "XADD",
        }
    }
}
