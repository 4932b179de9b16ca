//! The names of one group of readers of a stream.

use uuid::Uuid;

use crate::config::{Config, SourceKind};
use crate::slot::beside;

/// The stream, its consumer group, and the keys beside the stream, all in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    /// The stream.
    pub(crate) input: String,
    /// Its consumer group.
    pub(crate) group: String,
    /// Sorted set: process → when its lease expires, in ms of the server's clock.
    pub(crate) leases: String,
    /// The option that names the stream.
    pub(crate) option: &'static str,
}

/// The name of the group that reads a spill back.
const DRAINERS: &str = "processors";

/// The group that replays a stream of rejected messages. It exists as long as the replay.
const REPLAY: &str = "redis-consumer-group:replay";

/// The option that names the stream of a replay.
const REJECTED: &str = "rejected";

/// The prefix of our consumers' names in a group.
const OURS: &str = "redis-consumer-group:";

impl Names {
    /// The names for the stream that is read, or for the spill; `None` if there is neither.
    pub(crate) fn of(config: &Config) -> Option<Self> {
        match config.source {
            SourceKind::Stream => Some(Self::new(&config.input, &config.stream.group, "input")),
            SourceKind::Rejected => Some(Self::new(&config.rejected, REPLAY, REJECTED)),
            SourceKind::PubSub | SourceKind::Sharded => {
                Some(Self::new(&config.spill()?, DRAINERS, "spill-key"))
            }
        }
    }

    pub(crate) fn new(input: &str, group: &str, option: &'static str) -> Self {
        Self {
            option,
            input: input.to_owned(),
            group: group.to_owned(),
            leases: beside(input, &format!("leases:{group}")),
        }
    }

    /// The option that the name of the leases' key depends on.
    pub(crate) fn option_of_leases(&self) -> &'static str {
        if self.option == "input" { "group" } else { self.option }
    }

    /// Whether this is a replay of the stream of rejected messages.
    pub(crate) fn is_of_replay(&self) -> bool {
        self.option == REJECTED
    }

    /// String: exists as long as the process may commit what it holds.
    pub(crate) fn token(&self, process: Uuid) -> String {
        beside(&self.input, &format!("token:{process}"))
    }

    /// The name of the process's consumer in the group.
    pub(crate) fn consumer(process: Uuid) -> String {
        format!("{OURS}{process}")
    }

    /// The process of the consumer with this name; `None` if it is not one of ours.
    pub(crate) fn process(consumer: &str) -> Option<Uuid> {
        let id = consumer.strip_prefix(OURS)?;
        id.parse().ok().filter(|process: &Uuid| process.to_string() == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_stand_beside_the_stream() {
        let names = Names::new("messages:published", "processors", "input");
        let nil = "00000000-0000-0000-0000-000000000000";
        assert_eq!(names.leases, "{messages:published}:leases:processors");
        assert_eq!(names.token(Uuid::nil()), format!("{{messages:published}}:token:{nil}"));
    }

    #[test]
    fn our_consumers_are_recognized_by_their_names() {
        let process = Uuid::new_v4();
        assert_eq!(Names::process(&Names::consumer(process)), Some(process));
        for other in
            ["", "worker-1", "redis-consumer-group:", "redis-consumer-group:worker", &process.to_string()]
        {
            assert_eq!(Names::process(other), None, "{other}");
        }
        assert_eq!(Names::process(&format!("redis-consumer-group:{}", process.simple())), None);
    }
}
