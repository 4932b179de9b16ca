//! Members, a server, and what may happen to them.

use std::collections::BTreeSet;

use super::Mutation;
use super::event::{Event, Left};
use super::member::{Commit, Connection, Item, Member};
use super::stored::{Answer, Epoch, Position, Report, Segment, Step, Stored};

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) stored: Stored,
    pub(super) replica: Option<Stored>,
    pub(super) members: Vec<Member>,
    /// A report that is under way.
    pub(super) late: Option<(Epoch, Report)>,
    segments: Segment,
    epochs: Epoch,
    pub(super) published: u8,
    /// The position of each message in what the server sent.
    positions: BTreeSet<Position>,
    /// The position of the next message.
    next: Position,
    pub(super) left: Left,
    /// What happened to the stored state, if it is noted.
    pub(super) journal: Option<Vec<Entry>>,
}

/// What happened to the stored state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    /// A step of the member in an epoch, its answer, and the state after it.
    Step(Epoch, Step, Answer, Box<Stored>),
    Replicate,
    Failover,
}

pub(super) type Checked = Result<(), String>;

/// The most positions that one member claims.
pub(super) const MOST_CLAIMED: usize = 2;
/// More rounds than anything takes to settle.
const ROUNDS: usize = 60;

impl World {
    pub(super) fn new(members: usize, left: Left) -> Self {
        Self {
            stored: Stored::default(),
            replica: None,
            members: vec![Member::new(); members],
            late: None,
            segments: 0,
            epochs: 0,
            published: 0,
            positions: BTreeSet::new(),
            next: (0, 0),
            left,
            journal: None,
        }
    }

    /// Lets one of them happen. The error says how it breaks a promise.
    pub(super) fn happens(&mut self, event: Event, with: Mutation) -> Checked {
        match event {
            Event::Publish => {
                self.left.messages -= 1;
                self.deliver(Item::Message(self.published));
                self.published += 1;
                self.positions.insert(self.next);
                self.next.1 += 1;
            }
            Event::Join(me) => self.join(me, with)?,
            Event::Subscribe(me) => {
                self.left.subscriptions -= 1;
                let mut connection = Connection::default();
                let member = &mut self.members[me];
                if let Some((segment, Some(next))) = member.runs.iter().next_back()
                    && with == Mutation::CountsOnAfterACut
                {
                    (connection.next, connection.opened) = (Some((*segment, *next)), Some(*segment));
                }
                member.connection = Some(connection);
            }
            Event::Open(me) => {
                let segment = self.segments + 1;
                if self.step(me, Step::Open(segment), with) == Answer::Done {
                    self.segments = segment;
                    let connection = self.members[me].connection.as_mut();
                    connection.expect("connected").opened = Some(segment);
                    self.deliver(Item::Marker(segment));
                    self.next = (segment, 0);
                }
            }
            Event::Read(me) => self.members[me].read(with),
            Event::Report(me) => self.report(me, with),
            Event::Delay(me) => {
                self.left.lost_answers -= 1;
                let report = self.members[me].report();
                self.late = self.members[me].epoch.map(|epoch| (epoch, report));
            }
            Event::Arrive => {
                if let Some((epoch, report)) = self.late.take() {
                    // Nobody hears the answer.
                    self.apply(epoch, Step::Report(report), with);
                }
            }
            Event::Claim(me) => {
                let number = self.members[me].number;
                if let Answer::Given(given) = self.step(me, Step::Claim(number), with) {
                    let member = &mut self.members[me];
                    (member.number, member.asks) = (member.number + 1, false);
                    // Unless the member knows already that it will not receive it.
                    let is_vain = |(segment, at)| {
                        member.runs.get(&segment).is_some_and(|upto| upto.is_some_and(|upto| at >= upto))
                    };
                    member.claimed.extend(
                        given.filter(|given| !is_vain(*given) || with == Mutation::CutsAreNotReported),
                    );
                }
            }
            Event::ClaimInVain(me) => {
                self.left.lost_answers -= 1;
                self.step(me, Step::Claim(self.members[me].number), with);
                self.members[me].asks = true;
            }
            Event::Send(me) => {
                let member = &mut self.members[me];
                let (epoch, records) = (member.epoch.expect("joined"), member.records());
                member.commit = Some(Commit { epoch, records, outcome: None });
            }
            Event::Execute(me) => {
                let commit = self.members[me].commit.clone().expect("sent");
                let answer = self.apply(commit.epoch, Step::Commit(commit.records), with);
                if let Answer::Twice(message) = answer {
                    return Err(format!("message {message} is in the output twice"));
                }
                self.members[me].commit.as_mut().expect("sent").outcome = Some(answer == Answer::Done);
            }
            Event::Answer(me) => {
                let member = &mut self.members[me];
                let commit = member.commit.take().expect("sent");
                match commit.outcome {
                    Some(true) => member.claimed.retain(|at| !commit.records.contains_key(at)),
                    _ => member.ends_epoch(),
                }
            }
            Event::CutCommit(me) => {
                self.left.lost_answers -= 1;
                let commit = self.members[me].commit.as_ref().expect("sent");
                // The lane's number tells it, and its fence keeps a late one from being executed.
                match commit.outcome {
                    Some(_) if with != Mutation::LostAnswersAreNotRecognized => {
                        self.happens(Event::Answer(me), with)?
                    }
                    _ => self.members[me].commit = None,
                }
            }
            Event::Cut(me) => {
                self.left.cuts -= 1;
                self.members[me].cut(with);
            }
            Event::Kill(me) => {
                self.left.deaths -= 1;
                let (epoch, commit) = (self.members[me].epoch, self.members[me].commit.take());
                self.members[me] = Member { is_dead: true, epoch, commit, ..Member::new() };
            }
            Event::Judge(me, other) => {
                self.left.errors -= 1;
                let epoch = self.members[other].epoch.expect("joined");
                self.fence_off(me, epoch, with);
            }
            Event::Clear(me, epoch) => self.fence_off(me, epoch, with),
            Event::Settle => drop(self.apply(0, Step::Settle, with)),
            Event::GiveUp => {
                let Answer::Lost(lost) = self.apply(0, Step::GiveUp, with) else { return Ok(()) };
                for at in lost {
                    if !self.positions.contains(&at) {
                        return Err(format!("{at:?} counts as lost, and there was no message"));
                    }
                    let held = self.living().find_map(|member| member.received.get(&at));
                    if let Some(message) = held.filter(|message| !self.stored.output.contains(message)) {
                        return Err(format!("message {message} was given up, and a member has it"));
                    }
                }
            }
            Event::Replicate => {
                self.replica = Some(self.stored.clone());
                self.note(Entry::Replicate);
            }
            Event::Failover => {
                self.left.failovers -= 1;
                self.stored = self.replica.take().expect("replicated");
                self.note(Entry::Failover);
                self.late = None;
                for member in &mut self.members {
                    member.cut(with);
                    member.commit = None;
                    if !member.is_dead && with != Mutation::EpochsOutliveTheirServer {
                        member.ends_epoch();
                    }
                }
            }
        }
        Ok(())
    }

    /// From here on nothing more goes wrong: then everything that a living member has received is appended, and
    /// nothing stays behind.
    pub(super) fn must_settle(mut self, with: Mutation) -> Checked {
        for _ in 0..ROUNDS {
            let before = self.clone();
            for me in 0..self.members.len() {
                self.go_on(me, with)?;
            }
            while self.stored.is_lacking() && self.all_have_told() {
                self.happens(Event::GiveUp, with)?;
            }
            while self.stored.has_settled() {
                self.happens(Event::Settle, with)?;
            }
            if self == before {
                break;
            }
        }
        let received: BTreeSet<_> = self.living().flat_map(|member| member.received.values()).collect();
        if let Some(missing) = received.iter().find(|message| !self.stored.output.contains(message)) {
            return Err(format!("message {missing} was received and is not in the output"));
        }
        let ended = self.stored.segments.iter().find(|(_, extent)| extent.end.is_some());
        match ended.filter(|_| self.living().count() > 0) {
            Some((segment, _)) => Err(format!("segment {segment} has ended and is never settled")),
            None => Ok(()),
        }
    }

    /// One round of a member without faults.
    fn go_on(&mut self, me: usize, with: Mutation) -> Checked {
        if self.members[me].commit.as_ref().is_some_and(|commit| commit.outcome.is_none()) {
            self.happens(Event::Execute(me), with)?;
        }
        if self.members[me].is_dead {
            return Ok(());
        }
        if self.members[me].commit.is_some() {
            self.happens(Event::Answer(me), with)?;
        }
        while self.members[me].connection.as_ref().is_some_and(|connection| !connection.sent.is_empty()) {
            self.happens(Event::Read(me), with)?;
        }
        if self.members[me].epoch.is_none() {
            self.happens(Event::Join(me), with)?;
        }
        if !self.members[me].has_reported {
            self.report(me, with);
        }
        for epoch in self.without_member() {
            self.fence_off(me, epoch, with);
        }
        for _ in 0..self.published + 2 {
            if self.claims(me) {
                self.happens(Event::Claim(me), with)?;
            }
        }
        if self.members[me].epoch.is_some() && !self.members[me].records().is_empty() {
            self.happens(Event::Send(me), with)?;
        }
        Ok(())
    }

    fn join(&mut self, me: usize, with: Mutation) -> Checked {
        self.epochs += 1;
        let member = &mut self.members[me];
        let former = member.former.take();
        member.epoch = Some(self.epochs);
        (member.number, member.asks) = (1, false);
        let step = Step::Join(former, member.runs.clone());
        let Answer::Joined(done) = self.apply(self.epochs, step, with) else { return Ok(()) };
        let member = &mut self.members[me];
        for segment in done {
            let mut dropped =
                member.received.iter().filter(|(at, _)| at.0 == segment).map(|(_, message)| message);
            if let Some(message) = dropped.find(|message| !self.stored.output.contains(message)) {
                return Err(format!("message {message} counts as committed, and is not in the output"));
            }
            member.drop_segment(segment);
        }
        Ok(())
    }

    fn report(&mut self, me: usize, with: Mutation) {
        let report = self.members[me].report();
        if self.step(me, Step::Report(report), with) == Answer::Done {
            let member = &mut self.members[me];
            (member.has_reported, member.ends) = (true, Default::default());
        }
    }

    /// Whoever was itself taken for dead judges nobody.
    fn fence_off(&mut self, me: usize, epoch: Epoch, with: Mutation) {
        self.step(me, Step::FenceOff(epoch), with);
    }

    /// A step of a member, which knows afterwards if its epoch is over.
    fn step(&mut self, me: usize, step: Step, with: Mutation) -> Answer {
        let Some(epoch) = self.members[me].epoch else { return Answer::Over };
        let answer = self.apply(epoch, step, with);
        if answer == Answer::Over {
            self.members[me].ends_epoch();
        }
        answer
    }

    fn apply(&mut self, epoch: Epoch, step: Step, with: Mutation) -> Answer {
        let answer = self.stored.apply(epoch, &step, with);
        if let Some(journal) = &mut self.journal {
            journal.push(Entry::Step(epoch, step, answer.clone(), Box::new(self.stored.clone())));
        }
        answer
    }

    /// Whether the member has a reason to ask: there is something to claim, an answer was lost, or its epoch is over.
    pub(super) fn claims(&self, me: usize) -> bool {
        self.members[me].epoch.is_some_and(|epoch| {
            let is_over = !self.stored.members.contains_key(&epoch);
            // Bounded, to keep stories finite.
            let next = self.stored.next(epoch).filter(|(_, at)| *at <= self.published);
            is_over || self.members[me].asks || next.is_some()
        })
    }

    fn note(&mut self, entry: Entry) {
        if let Some(journal) = &mut self.journal {
            journal.push(entry);
        }
    }

    fn deliver(&mut self, item: Item) {
        for connection in self.members.iter_mut().filter_map(|member| member.connection.as_mut()) {
            connection.sent.push_back(item);
        }
    }

    fn living(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| !member.is_dead)
    }

    /// Epochs that no living member has.
    pub(super) fn without_member(&self) -> Vec<Epoch> {
        let is_of = |epoch: Epoch| {
            self.living().any(|member| member.epoch == Some(epoch) || member.former == Some(epoch))
        };
        self.stored.members.keys().copied().filter(|epoch| !is_of(*epoch)).collect()
    }

    /// Whether all living members have reported what they received, and none is behind a marker: that is so when each
    /// of them has renewed its lease twice.
    pub(super) fn all_have_told(&self) -> bool {
        self.without_member().is_empty()
            && self.living().all(|member| {
                let is_member = member.epoch.is_some_and(|epoch| self.stored.members.contains_key(&epoch));
                let mut sent = member.connection.iter().flat_map(|connection| &connection.sent);
                member.has_reported && is_member && !sent.any(|item| matches!(item, Item::Marker(_)))
            })
    }
}
