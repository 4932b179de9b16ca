//! The figures of a group at one moment.

use std::time::Duration;

use redis_consumer_group::{Backlog, BufferUse, ConsumerGroup, Ledger, Shard, State};

/// The figures of a group, or of one of its shards.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    /// The number of the shard.
    pub(crate) shard: Option<u32>,
    pub(crate) processed_last_second: u64,
    pub(crate) ledger: Ledger,
    pub(crate) backlog: Option<Backlog>,
    pub(crate) buffer: BufferUse,
    pub(crate) retries_waiting: usize,
    pub(crate) state: State,
    /// The total time disconnected.
    pub(crate) disconnected: Duration,
}

impl Figures {
    /// The figures of the whole group.
    pub(crate) fn of(group: &ConsumerGroup) -> Self {
        let handle = group.handle();
        Self {
            shard: None,
            processed_last_second: handle.processed_last_second(),
            ledger: handle.ledger(),
            backlog: handle.backlog(),
            buffer: handle.buffer(),
            retries_waiting: handle.retries_waiting(),
            state: handle.state(),
            disconnected: handle.disconnected(),
        }
    }

    /// The figures of each shard; empty without shards.
    pub(crate) fn of_shards(group: &ConsumerGroup) -> Vec<Self> {
        let of_shard = |shard: &Shard| Self {
            shard: shard.number(),
            processed_last_second: shard.processed_last_second(),
            ledger: shard.ledger(),
            backlog: shard.backlog(),
            buffer: shard.buffer(),
            retries_waiting: shard.retries_waiting(),
            state: shard.state(),
            disconnected: shard.disconnected(),
        };
        group.shards().iter().map(of_shard).filter(|figures| figures.shard.is_some()).collect()
    }

    /// The current outage.
    pub(crate) fn outage(&self) -> Option<Outage<'_>> {
        match &self.state {
            State::Disconnected { since, cause, .. } => {
                Some(Outage { problem: "disconnected", lasts: since.elapsed(), cause })
            }
            State::Degraded { since, problem, cause, .. } => {
                Some(Outage { problem, lasts: since.elapsed(), cause })
            }
            _ => None,
        }
    }
}

/// What the group cannot do now, for how long, and why.
pub(crate) struct Outage<'a> {
    pub(crate) problem: &'a str,
    pub(crate) lasts: Duration,
    pub(crate) cause: &'a str,
}

/// The figures of a group that has not started.
impl Default for Figures {
    fn default() -> Self {
        Self {
            shard: None,
            processed_last_second: 0,
            ledger: Ledger::default(),
            backlog: None,
            buffer: BufferUse::default(),
            retries_waiting: 0,
            state: State::Ended,
            disconnected: Duration::ZERO,
        }
    }
}
