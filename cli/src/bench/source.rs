//! The source of the messages of a bench.

use serde::{Deserialize, Serialize};

/// The source of the measured group. The first line of each is its help.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    /// A channel: messages are published while the group reads
    #[default]
    Pubsub,
    /// A stream: the group moves a backlog that exists before it starts
    ///
    /// So the load takes no CPU from the measured move.
    Stream,
    /// Sharded channels of a private cluster, for each number in --nodes: the cost of a message as nodes are added
    Sharded,
}

impl Source {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pubsub => "pubsub",
            Self::Stream => "stream",
            Self::Sharded => "sharded",
        }
    }
}
