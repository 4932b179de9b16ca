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
    reported: u8,
    /// The last claim: its number, and what it gave.
    last: (u8, Option<Position>),
}

/// What a member tells of what it received.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Report {
    /// Higher than that of any earlier one.
    pub(super) number: u8,
    pub(super) runs: Runs,
    /// The ends of segments that it saw since the last report.
    pub(super) ends: BTreeMap<Segment, u8>,
}

/// The epoch is over.
#[derive(Debug)]
pub(super) struct Over;

impl Stored {
    /// Begins an epoch with what was received before. Returns the segments that are done.
    pub(super) fn join(
        &mut self,
        epoch: Epoch,
        former: Option<Epoch>,
        runs: &Runs,
        with: Mutation,
    ) -> Vec<Segment> {
        if let Some(former) = former {
            self.fence_off(former, with);
        }
        let (mut done, mut known) = (Vec::new(), runs.clone());
        for segment in
            runs.keys().filter(|segment| !self.segments.contains_key(segment)).copied().collect::<Vec<_>>()
        {
            let is_done = self.done.contains(&segment) && with != Mutation::DoneIsForgotten;
            if is_done || with == Mutation::NothingIsKnownAgain {
                known.remove(&segment);
                done.push(segment);
            } else {
                self.segments.insert(segment, Extent::default());
            }
        }
        self.members.insert(epoch, Share { runs: known, ..Share::default() });
        done
    }

    pub(super) fn open(&mut self, epoch: Epoch, segment: Segment) -> Result<(), Over> {
        self.check(epoch)?;
        self.segments.insert(segment, Extent::default());
        Ok(())
    }

    pub(super) fn report(&mut self, epoch: Epoch, report: &Report, with: Mutation) -> Result<(), Over> {
        self.check(epoch)?;
        let share = self.members.get_mut(&epoch).expect("checked");
        if report.number <= share.reported && with != Mutation::LateReportsCount {
            return Ok(());
        }
        share.reported = report.number;
        for (segment, end) in &report.ends {
            self.end(*segment, *end, with);
        }
        let runs: Runs = report
            .runs
            .iter()
            .filter(|(segment, _)| self.segments.contains_key(segment))
            .map(|(s, r)| (*s, *r))
            .collect();
        let share = self.members.get_mut(&epoch).expect("checked");
        share.runs = runs;
        if with != Mutation::CutsAreNotReported {
            let (claimed, freed) =
                std::mem::take(&mut share.claimed).into_iter().partition(|at| has(&share.runs, *at));
            share.claimed = claimed;
            self.free.extend::<BTreeSet<_>>(freed);
        }
        Ok(())
    }

    /// What the next claim would give. `ahead`: the positions from here on are not claimed, to keep stories finite.
    pub(super) fn next(&self, epoch: Epoch, ahead: u8) -> Option<Position> {
        self.members.get(&epoch)?.runs.iter().find_map(|(segment, received)| {
            let Extent { frontier, end } = self.segments.get(segment)?;
            let inside = |at: u8| received.is_none_or(|upto| at < upto) && end.is_none_or(|end| at < end);
            let freed = self.free.iter().find(|(of, at)| of == segment && inside(*at)).copied();
            freed.or_else(|| (inside(*frontier) && *frontier < ahead).then_some((*segment, *frontier)))
        })
    }

    pub(super) fn claim(
        &mut self,
        epoch: Epoch,
        number: u8,
        ahead: u8,
        with: Mutation,
    ) -> Result<Option<Position>, Over> {
        self.check(epoch)?;
        let next = self.next(epoch, ahead);
        let share = self.members.get_mut(&epoch).expect("checked");
        if share.last.0 == number && with != Mutation::ClaimsAreNotRepeated {
            return Ok(share.last.1.filter(|given| share.claimed.contains(given)));
        }
        share.last = (number, next);
        if let Some(given) = next {
            share.claimed.insert(given);
            if !self.free.remove(&given) && with != Mutation::ClaimsAreGivenTwice {
                self.segments.get_mut(&given.0).expect("known").frontier += 1;
            }
        }
        Ok(next)
    }

    /// Appends messages, and removes their claims. The inner error: a message is there already.
    pub(super) fn commit(
        &mut self,
        epoch: Epoch,
        records: &BTreeMap<Position, u8>,
        with: Mutation,
    ) -> Result<Result<(), String>, Over> {
        if with != Mutation::NothingIsFenced {
            self.check(epoch)?;
        }
        if let Some(share) = self.members.get_mut(&epoch) {
            share.claimed.retain(|at| !records.contains_key(at));
        }
        let twice = records.iter().find(|(_, message)| !self.output.insert(**message));
        Ok(twice.map_or(Ok(()), |(at, message)| {
            Err(format!("message {message} at {at:?} is in the output twice"))
        }))
    }

    pub(super) fn fence_off(&mut self, epoch: Epoch, with: Mutation) {
        if let Some(share) = self.members.remove(&epoch)
            && with != Mutation::ClaimsOfTheDeadStay
        {
            self.free.extend(share.claimed);
        }
    }

    /// A segment that is settled.
    pub(super) fn settled(&self) -> Option<Segment> {
        let is_claimed = |segment: &Segment| {
            self.members
                .values()
                .flat_map(|share| &share.claimed)
                .chain(&self.free)
                .any(|at| at.0 == *segment)
        };
        let is_settled = |(segment, extent): &(&Segment, &Extent)| {
            extent.end.is_some_and(|end| extent.frontier >= end) && !is_claimed(segment)
        };
        self.segments.iter().find(is_settled).map(|(segment, _)| *segment)
    }

    pub(super) fn settle(&mut self, segment: Segment) {
        self.segments.remove(&segment);
        self.done.insert(segment);
        for share in self.members.values_mut() {
            share.runs.remove(&segment);
        }
    }

    /// Whether something is left that no member has or will receive.
    pub(super) fn is_lacking(&self) -> bool {
        self.endless().is_some() || self.orphan().is_some()
    }

    /// Gives up the rest of a segment, or a position. Returns the position that is lost.
    pub(super) fn give_up(&mut self) -> Option<Position> {
        // First the ends: what was claimed beyond them is not lost, because it never was.
        while let Some(segment) = self.endless() {
            let runs = self.members.values().filter_map(|share| share.runs.get(&segment).copied().flatten());
            self.end(segment, runs.max().unwrap_or(0), Mutation::None);
        }
        let lost = self.orphan()?;
        if !self.free.remove(&lost) {
            self.segments.get_mut(&lost.0).expect("known").frontier += 1;
        }
        Some(lost)
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

    pub(super) fn check(&self, epoch: Epoch) -> Result<(), Over> {
        self.members.contains_key(&epoch).then_some(()).ok_or(Over)
    }
}

fn has(runs: &Runs, (segment, at): Position) -> bool {
    runs.get(&segment).is_some_and(|upto| upto.is_none_or(|upto| at < upto))
}
