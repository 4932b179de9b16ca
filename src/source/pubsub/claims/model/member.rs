//! A member: what it has received, claimed and sent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Mutation;
use super::stored::{Epoch, Position, Report, Runs, Segment};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Item {
    Message(u8),
    Marker(Segment),
}

/// A subscribed connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Connection {
    /// What the server has sent, and the member has not read yet.
    pub(super) sent: VecDeque<Item>,
    /// The position of the next message. `None` before the own marker.
    pub(super) next: Option<Position>,
    /// The segment that it has opened.
    pub(super) opened: Option<Segment>,
}

/// A commit on its way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Commit {
    pub(super) epoch: Epoch,
    pub(super) records: BTreeMap<Position, u8>,
    /// What the server did: appended it, or refused it because the epoch is over.
    pub(super) outcome: Option<bool>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Member {
    pub(super) is_dead: bool,
    /// `None`: it has to join.
    pub(super) epoch: Option<Epoch>,
    /// The epoch before, whose claims it frees when it joins.
    pub(super) former: Option<Epoch>,
    /// The messages that it has received.
    pub(super) received: BTreeMap<Position, u8>,
    pub(super) runs: Runs,
    /// The ends of segments that it saw since the last report.
    pub(super) ends: BTreeMap<Segment, u8>,
    pub(super) has_reported: bool,
    /// The number of its last report.
    pub(super) reports: u8,
    pub(super) connection: Option<Connection>,
    pub(super) claimed: BTreeSet<Position>,
    /// The number of the next claim, or of the one whose answer was lost.
    pub(super) number: u8,
    /// Whether the answer to a claim was lost.
    pub(super) asks: bool,
    pub(super) commit: Option<Commit>,
}

impl Member {
    pub(super) fn new() -> Self {
        Self { number: 1, ..Self::default() }
    }

    /// Reads what the server has sent.
    pub(super) fn read(&mut self, with: Mutation) {
        let Some(connection) = &mut self.connection else { return };
        let Some(item) = connection.sent.pop_front() else { return };
        match (item, connection.next) {
            (Item::Message(message), Some(at)) => {
                self.received.insert(at, message);
                connection.next = Some((at.0, at.1 + 1));
            }
            // Before its own marker it cannot count.
            (Item::Message(_), None) => {}
            (Item::Marker(segment), next) => {
                let is_own = connection.opened == Some(segment);
                if !is_own && (next.is_none() || with == Mutation::MarkersOfOthersAreIgnored) {
                    return;
                }
                connection.next = Some((segment, 0));
                if let Some((ended, end)) = next {
                    self.ends.insert(ended, end);
                    self.run_ends(ended, end, with);
                }
                self.runs.insert(segment, None);
                self.has_reported = false;
            }
        }
    }

    /// Its connection breaks, and what the server has sent and it has not read is gone.
    pub(super) fn cut(&mut self, with: Mutation) {
        let Some(connection) = self.connection.take() else { return };
        self.has_reported = false;
        if let Some((segment, next)) = connection.next {
            self.run_ends(segment, next, with);
        }
    }

    /// Notices that its epoch is over.
    pub(super) fn ends_epoch(&mut self) {
        self.former = self.epoch.take().or(self.former);
        self.claimed.clear();
        self.has_reported = false;
    }

    /// Notices that all of a segment is committed, by whomever.
    pub(super) fn drop_segment(&mut self, segment: Segment) {
        self.received.retain(|at, _| at.0 != segment);
        if self.runs.remove(&segment) == Some(None) {
            // It counts in it, so others have seen its end, and this connection is too far behind to matter.
            self.connection = None;
        }
    }

    /// A report of what it has received by now.
    pub(super) fn report(&mut self) -> Report {
        self.reports += 1;
        Report { number: self.reports, runs: self.runs.clone(), ends: self.ends.clone() }
    }

    /// Claimed messages that it has received, as a commit would append them.
    pub(super) fn records(&self) -> BTreeMap<Position, u8> {
        self.claimed.iter().filter_map(|at| Some((*at, *self.received.get(at)?))).collect()
    }

    fn run_ends(&mut self, segment: Segment, end: u8, with: Mutation) {
        self.runs.insert(segment, Some(end));
        if with != Mutation::CutsAreNotReported {
            self.claimed.retain(|at| at.0 != segment || at.1 < end);
        }
    }
}
