//! The target of messages, and its options.

use clap::{Args, ValueEnum};
use redis_consumer_group::{Error, ShardSet, Shards};

use crate::options::{OptionError, Origin};

/// The options of a target. Flatten them into the arguments of a subcommand.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    /// Where to publish the messages
    #[arg(long, value_enum, default_value = "channel")]
    to: To,
    /// Channel to publish to; with --to stream, the stream
    #[arg(
        long,
        value_name = "NAME",
        visible_alias = "input",
        default_value = "messages:published",
        value_parser = name
    )]
    channel: String,
    /// Publish to this many shards in turn (NAME:0 and so on): sharded channels of a cluster, or streams with --to stream
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Name the shards NAME:{0} and so on instead
    #[arg(long, requires = "shards")]
    shard_tags: bool,
    /// Publish only to these shards, for example 0-7 or 0,2,5-9 [default: all]
    #[arg(long, value_name = "SHARDS", requires = "shards")]
    only_shards: Option<ShardSet>,
    /// Choose the shard of each message, a JSON object, by the value of this member. Equal values go to the same shard:
    /// the slot of the value (CLUSTER KEYSLOT) modulo --shards
    #[arg(long, value_name = "MEMBER", requires = "shards", conflicts_with = "only_shards")]
    shard_by: Option<String>,
}

/// The channel or the stream that messages go to, or those of its shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// How messages are delivered, and what that guarantees.
    pub(crate) to: To,
    /// Its name in Redis; with shards, the part before their numbers.
    pub(crate) name: String,
    pub(crate) sharding: Option<Sharding>,
}

/// How messages are assigned to shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sharding {
    pub(crate) shards: Shards,
    /// The member of a message whose value chooses the shard, so that equal values go to the same one. `None` is
    /// round-robin.
    pub(crate) by: Option<String>,
}

/// The kind of target. The first line of each variant is its help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// With PUBLISH, or SPUBLISH for shards: every subscriber gets each message, and Redis keeps none
    ///
    /// So a message that the server confirmed may have reached no subscriber.
    Channel,
    /// With XADD: each message is an entry with the field payload, which Redis keeps. The stream only grows
    ///
    /// A message that the server confirmed can be read now or later, as far as Redis itself keeps its data.
    Stream,
}

impl TargetArgs {
    /// The target that the options describe.
    ///
    /// # Errors
    /// If the shards are invalid.
    pub(crate) fn target(&self) -> Result<Target, OptionError> {
        Ok(Target { to: self.to, name: self.channel.clone(), sharding: self.sharding()? })
    }

    fn sharding(&self) -> Result<Option<Sharding>, OptionError> {
        let Some(count) = self.shards else { return Ok(None) };
        let mut shards = Shards::new(count);
        (shards.tags, shards.only) = (self.shard_tags, self.only_shards.clone());
        shards.validate([("channel", self.channel.as_str())]).map_err(|error| {
            let (option, problem) = match error {
                Error::Config { option, problem } => (option, problem),
                error => ("shards", error.to_string()),
            };
            OptionError { origin: Origin::Flag(option), problem }
        })?;
        Ok(Some(Sharding { shards, by: self.shard_by.clone() }))
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("the name is empty; give one".to_owned()) } else { Ok(text.to_owned()) }
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

    /// The command that publishes one message.
    pub(crate) fn command(&self) -> &'static str {
        match (self.to, &self.sharding) {
            (To::Channel, None) => "PUBLISH",
            (To::Channel, Some(_)) => "SPUBLISH",
            (To::Stream, _) => "XADD",
        }
    }
}
