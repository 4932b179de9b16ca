//! Where the messages of a bench come from.

use serde::{Deserialize, Serialize};

/// The source of the group under test. The first line of each is the help.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A channel: messages are published while the group reads
    #[default]
    Pubsub,
    /// A stream: the group moves a backlog that exists before it starts
    ///
    /// So a run shows what a move takes, whatever the load could do beside it.
    Stream,
    /// Sharded channels of a private cluster, for each number in --nodes: the cost of a message as nodes are added
    Sharded,
}

impl Source {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pubsub => "pubsub",
            Self::Stream => "stream",
            Self::Sharded => "sharded",
        }
    }
}
