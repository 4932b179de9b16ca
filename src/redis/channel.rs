//! The subscribed channel, and the commands for its kind.

use std::sync::Arc;

/// A channel of one of the two kinds that Redis has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) name: Arc<str>,
    pub(crate) kind: ChannelKind,
}

/// Which nodes deliver the messages of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChannelKind {
    /// Every node of a cluster, whichever node it was published to.
    Plain,
    /// The primary of the channel's slot, and its replicas.
    Sharded,
}

impl Channel {
    pub(crate) fn new(name: &str, kind: ChannelKind) -> Self {
        Self { name: name.into(), kind }
    }
}

impl ChannelKind {
    /// The command that subscribes.
    pub(crate) fn subscribe(self) -> &'static str {
        match self {
            Self::Plain => "SUBSCRIBE",
            Self::Sharded => "SSUBSCRIBE",
        }
    }

    /// The command that ends the subscription.
    pub(crate) fn unsubscribe(self) -> &'static str {
        match self {
            Self::Plain => "UNSUBSCRIBE",
            Self::Sharded => "SUNSUBSCRIBE",
        }
    }

    /// The kind that its message frames carry.
    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Plain => "message",
            Self::Sharded => "smessage",
        }
    }
}
