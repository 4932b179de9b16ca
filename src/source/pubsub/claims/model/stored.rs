//! What the group stores in Redis, and the scripts that change it.

use std::collections::{BTreeMap, BTreeSet};

use super::Mutation;

/// The number stands for a random id.
pub(super) type Segment = u8;
pub(super) type Epoch = u8;
/// A segment, and the number of a message in it.
pub(super) type Position = (Segment, u8);
/// Of each segment, up to where it was received, from its beginning on. `None`: the connection lasts.
pub(super) type Runs = BTreeMap<Segment, Option<u8>>;

/// All of it goes back together when a replica is promoted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    pub(super) segments: BTreeMap<Segment, Extent>,
    pub(super) done: BTreeSet<Segment>,
    /// The epochs. The fencing token of each exists.
    pub(super) members: BTreeMap<Epoch, Share>,
    pub(super) free: BTreeSet<Position>,
    /// The messages in the output.
    pub(super) output: BTreeSet<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Extent {
    /// The first position that was never claimed.
    pub(super) frontier: u8,
    pub(super) end: Option<u8>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Share {
    pub(super) claimed: BTreeSet<Position>,
    pub(super) runs: Runs,
    /// The number of the last report.
    pub(super) reported: u8,
    /// The last claim: its number, and what it gave.
    pub(super) last: (u8, Option<Position>),
}

/// What a member reports about the messages it received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Report {
    /// Higher than that of any earlier one.
    pub(super) number: u8,
    pub(super) runs: Runs,
    /// The ends of segments that it saw since the last report.
    pub(super) ends: BTreeMap<Segment, u8>,
}

/// A script, or a transaction. Those of a member do nothing once its epoch is over.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Begins an epoch after the former one, with what was received before.
    Join(Option<Epoch>, Runs),
    Open(Segment),
    Report(Report),
    /// The number of the claim.
    Claim(u8),
    /// The messages by their positions.
    Commit(BTreeMap<Position, u8>),
    FenceOff(Epoch),
    Settle,
    GiveUp,
}

/// The answer to a step.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Answer {
    /// The epoch is over.
    Over,
    Done,
    /// The segments that the member received and that are done.
    Joined(Vec<Segment>),
    /// What a claim gave.
    Given(Option<Position>),
    /// What is lost.
    Lost(Vec<Position>),
    /// A message that was appended before.
    Twice(u8),
}

impl Stored {
    /// Executes a step of the member in this epoch.
    pub(super) fn apply(&mut self, epoch: Epoch, step: &Step, with: Mutation) -> Answer {
        let needs_epoch = match step {
            Step::Join(..) | Step::Settle | Step::GiveUp => false,
            Step::Commit(_) => with != Mutation::NothingIsFenced,
            _ => true,
        };
        if needs_epoch && !self.members.contains_key(&epoch) {
            return Answer::Over;
        }
        match step {
            Step::Join(former, runs) => return self.join(epoch, *former, runs, with),
            Step::Open(segment) => drop(self.segments.insert(*segment, Extent::default())),
            Step::Report(report) => self.report(epoch, report, with),
            Step::Claim(number) => return self.claim(epoch, *number, with),
            Step::Commit(records) => return self.commit(epoch, records),
            Step::FenceOff(epoch) => self.fence_off(*epoch, with),
            Step::Settle => self.settle(),
            Step::GiveUp => return self.give_up(),
        }
        Answer::Done
    }

    /// What the next claim would give.
    pub(super) fn next(&self, epoch: Epoch) -> Option<Position> {
        self.members.get(&epoch)?.runs.iter().find_map(|(segment, received)| {
            let Extent { frontier, end } = self.segments.get(segment)?;
            let inside = |at: u8| received.is_none_or(|upto| at < upto) && end.is_none_or(|end| at < end);
            let freed = self.free.iter().find(|(of, at)| of == segment && inside(*at)).copied();
            freed.or_else(|| inside(*frontier).then_some((*segment, *frontier)))
        })
    }

    /// Whether a segment is settled.
    pub(super) fn has_settled(&self) -> bool {
        self.settled().is_some()
    }

    /// Whether something is left that no member has or will receive.
    pub(super) fn is_lacking(&self) -> bool {
        self.endless().is_some() || self.orphan().is_some()
    }

    fn join(&mut self, epoch: Epoch, former: Option<Epoch>, runs: &Runs, with: Mutation) -> Answer {
        if let Some(former) = former {
            self.fence_off(former, with);
        }
        let (mut done, mut known) = (Vec::new(), runs.clone());
        for segment in runs.keys() {
            if self.segments.contains_key(segment) {
                continue;
            }
            let is_done = self.done.contains(segment) && with != Mutation::DoneIsForgotten;
            if is_done || with == Mutation::NothingIsKnownAgain {
                known.remove(segment);
                done.push(*segment);
            } else {
                self.segments.insert(*segment, Extent::default());
            }
        }
        self.members.insert(epoch, Share { runs: known, ..Share::default() });
        Answer::Joined(done)
    }

    fn report(&mut self, epoch: Epoch, report: &Report, with: Mutation) {
        let Some(share) = self.members.get_mut(&epoch) else { return };
        if report.number <= share.reported && with != Mutation::LateReportsCount {
            return;
        }
        share.reported = report.number;
        for (segment, end) in &report.ends {
            self.end(*segment, *end, with);
        }
        let mut runs = report.runs.clone();
        runs.retain(|segment, _| self.segments.contains_key(segment));
        let Some(share) = self.members.get_mut(&epoch) else { return };
        share.runs = runs;
        if with != Mutation::CutsAreNotReported {
            let freed: BTreeSet<_> =
                share.claimed.iter().copied().filter(|at| !has(&share.runs, *at)).collect();
            share.claimed.retain(|at| !freed.contains(at));
            self.free.extend(freed);
        }
    }

    fn claim(&mut self, epoch: Epoch, number: u8, with: Mutation) -> Answer {
        let next = self.next(epoch);
        let Some(share) = self.members.get_mut(&epoch) else { return Answer::Over };
        if share.last.0 == number && with != Mutation::ClaimsAreNotRepeated {
            return Answer::Given(share.last.1.filter(|given| share.claimed.contains(given)));
        }
        share.last = (number, next);
        if let Some(given) = next {
            share.claimed.insert(given);
            if !self.free.remove(&given)
                && with != Mutation::ClaimsAreGivenTwice
                && let Some(extent) = self.segments.get_mut(&given.0)
            {
                extent.frontier += 1;
            }
        }
        Answer::Given(next)
    }

    /// Appends messages, and removes their claims.
    fn commit(&mut self, epoch: Epoch, records: &BTreeMap<Position, u8>) -> Answer {
        if let Some(share) = self.members.get_mut(&epoch) {
            share.claimed.retain(|at| !records.contains_key(at));
        }
        let twice = records.values().find(|message| !self.output.insert(**message));
        twice.map_or(Answer::Done, |message| Answer::Twice(*message))
    }

    fn fence_off(&mut self, epoch: Epoch, with: Mutation) {
        if let Some(share) = self.members.remove(&epoch)
            && with != Mutation::ClaimsOfTheDeadStay
        {
            self.free.extend(share.claimed);
        }
    }

    /// Forgets all segments that are settled.
    fn settle(&mut self) {
        while let Some(segment) = self.settled() {
            self.segments.remove(&segment);
            self.done.insert(segment);
            for share in self.members.values_mut() {
                share.runs.remove(&segment);
            }
        }
    }

    /// Gives up what no member has: first the ends of segments, because what was claimed beyond an end never was.
    fn give_up(&mut self) -> Answer {
        while let Some(segment) = self.endless() {
            let runs = self.members.values().filter_map(|share| share.runs.get(&segment).copied().flatten());
            self.end(segment, runs.max().unwrap_or(0), Mutation::None);
        }
        let mut lost = Vec::new();
        while let Some(orphan) = self.orphan() {
            if !self.free.remove(&orphan)
                && let Some(extent) = self.segments.get_mut(&orphan.0)
            {
                extent.frontier += 1;
            }
            lost.push(orphan);
        }
        lost.sort_unstable();
        Answer::Lost(lost)
    }

    /// A segment of which nothing is left.
    fn settled(&self) -> Option<Segment> {
        let claimed = self.members.values().flat_map(|share| &share.claimed);
        let left: BTreeSet<_> = claimed.chain(&self.free).map(|at| at.0).collect();
        let is_settled = |(segment, extent): &(&Segment, &Extent)| {
            extent.end.is_some_and(|end| extent.frontier >= end) && !left.contains(segment)
        };
        self.segments.iter().find(is_settled).map(|(segment, _)| *segment)
    }

    /// The segment ends here: what comes after was claimed in vain.
    fn end(&mut self, segment: Segment, end: u8, with: Mutation) {
        let Some(extent) = self.segments.get_mut(&segment).filter(|extent| extent.end.is_none()) else {
            return;
        };
        extent.end = Some(end);
        if with == Mutation::VainClaimsStay {
            return;
        }
        extent.frontier = extent.frontier.min(end);
        let exists = |at: &Position| at.0 != segment || at.1 < end;
        self.free.retain(exists);
        self.members.values_mut().for_each(|share| share.claimed.retain(exists));
    }

    /// A segment without an end in which nobody counts.
    fn endless(&self) -> Option<Segment> {
        let counts =
            |segment: &Segment| self.members.values().any(|share| share.runs.get(segment) == Some(&None));
        self.segments
            .iter()
            .find(|(segment, extent)| extent.end.is_none() && !counts(segment))
            .map(|(segment, _)| *segment)
    }

    /// A position that is not claimed and that no member has.
    fn orphan(&self) -> Option<Position> {
        let frontiers =
            self.segments.iter().filter(|(_, extent)| extent.end.is_some_and(|end| extent.frontier < end));
        let unclaimed = frontiers.map(|(segment, extent)| (*segment, extent.frontier));
        let is_held = |at: &Position| self.members.values().any(|share| has(&share.runs, *at));
        self.free.iter().copied().chain(unclaimed).find(|at| !is_held(at))
    }
}

fn has(runs: &Runs, (segment, at): Position) -> bool {
    runs.get(&segment).is_some_and(|upto| upto.is_none_or(|upto| at < upto))
}
