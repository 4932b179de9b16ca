//! What a group cannot do now.

use std::time::Duration;

use redis_consumer_group::State;

/// What the group cannot do now, for how long, and why.
pub(super) struct Outage<'a> {
    pub(super) problem: &'a str,
    pub(super) lasts: Duration,
    pub(super) cause: &'a str,
}

impl<'a> Outage<'a> {
    /// The current outage.
    pub(super) fn of(state: &'a State) -> Option<Self> {
        match state {
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
