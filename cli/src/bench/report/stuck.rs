//! A group whose processor never finishes.

use serde::{Deserialize, Serialize};

/// What the group's buffer is worth: its limit, what the process took, and what the ledger says of it.
///
/// Nothing is processed, so that nothing here is lost for not being in the stream: what was received is either
/// dropped, or held until the end and then abandoned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stuck {
    pub(crate) consumers: usize,
    pub(crate) published: u64,
    /// From the first PUBLISH to the answer to the last one.
    pub(crate) publish_seconds: f64,
    /// Messages that the server published to nobody.
    pub(crate) unheard: u64,
    pub(crate) received: u64,
    pub(crate) processed: u64,
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
    pub(crate) abandoned: u64,
    pub(crate) gaps: u64,
    /// Why there was a gap, the last one.
    pub(crate) cause: Option<String>,
    /// The memory that waiting messages may hold.
    pub(crate) buffer: u64,
    /// The group's process, from its start to its end, where the system tells it.
    pub(crate) peak_memory: Option<u64>,
}

impl Stuck {
    /// Published, and never received.
    pub(crate) fn missed(&self) -> u64 {
        self.published.saturating_sub(self.received)
    }

    /// Whether the ledger says of each message that was published, and of no other, what became of it.
    pub(crate) fn adds_up(&self) -> bool {
        self.published == self.received && self.received == self.settled()
    }

    /// Messages of which the ledger says what became.
    pub(crate) fn settled(&self) -> u64 {
        self.processed + self.rejected + self.dropped + self.abandoned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    #[test]
    fn the_ledger_adds_up_where_it_has_each_message_once() {
        let stuck = sample::stuck();
        assert!(stuck.adds_up());
        let few = Stuck { abandoned: stuck.abandoned - 1, ..stuck.clone() };
        assert!(!few.adds_up(), "one has no delivery");
        let missed = Stuck { published: stuck.published + 1, ..stuck.clone() };
        assert_eq!((missed.adds_up(), missed.missed()), (false, 1));
        let foreign = Stuck { published: stuck.published - 1, ..stuck };
        assert_eq!((foreign.adds_up(), foreign.missed()), (false, 0));
    }
}
