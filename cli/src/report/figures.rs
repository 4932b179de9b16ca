//! What the reports take from the figures of a group.

use std::time::Duration;

use redis_consumer_group::{Figures, Handle, Shard, State};

/// The figures of each shard; empty without shards.
pub(crate) fn of_shards(group: &Handle) -> Vec<Figures> {
    group.shards().iter().map(Shard::figures).filter(|figures| figures.shard.is_some()).collect()
}

/// What the group cannot do now, for how long, and why.
pub(super) struct Outage<'a> {
    pub(super) problem: &'a str,
    pub(super) lasts: Duration,
    pub(super) cause: &'a str,
}

impl<'a> Outage<'a> {
    /// The current outage.
    pub(super) fn of(figures: &'a Figures) -> Option<Self> {
        match &figures.state {
            State::Disconnected { since, cause, .. } => {
                Some(Self { problem: "disconnected", lasts: since.elapsed(), cause })
            }
            State::Degraded { since, problem, cause, .. } => {
                Some(Self { problem, lasts: since.elapsed(), cause })
            }
            _ => None,
        }
    }
}
