//! What may happen to members and to their server.

use super::Mutation;
use super::stored::Epoch;
use super::world::{MOST_CLAIMED, World};

/// How often something may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) messages: u8,
    pub(super) subscriptions: u8,
    pub(super) cuts: u8,
    pub(super) deaths: u8,
    /// Members that live and are taken for dead.
    pub(super) errors: u8,
    pub(super) lost_answers: u8,
    pub(super) failovers: u8,
}

/// The numbers are those of members.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Publish,
    Join(usize),
    Subscribe(usize),
    Open(usize),
    Read(usize),
    Report(usize),
    /// The request is under way for long, and its connection is given up.
    Delay(usize),
    /// The request arrives.
    Arrive,
    Claim(usize),
    /// The claim is executed, and its answer is lost.
    ClaimInVain(usize),
    Send(usize),
    Execute(usize),
    Answer(usize),
    /// The connection of a commit breaks. The next one tells whether it was executed.
    CutCommit(usize),
    Cut(usize),
    Kill(usize),
    /// The first takes the second for dead.
    Judge(usize, usize),
    /// Ends an epoch that no living member has.
    Clear(usize, Epoch),
    Settle,
    GiveUp,
    /// The replica receives the state.
    Replicate,
    /// The replica is promoted.
    Failover,
}

impl World {
    /// Everything that can happen next.
    pub(super) fn events(&self, with: Mutation) -> Vec<Event> {
        let mut events = Vec::new();
        let mut may = |event: Event, if_so: bool| if_so.then(|| events.push(event));
        may(
            Event::Publish,
            self.left.messages > 0 && self.members.iter().any(|member| member.connection.is_some()),
        );
        may(Event::Arrive, self.late.is_some());
        may(Event::Settle, self.stored.has_settled());
        may(
            Event::GiveUp,
            self.stored.is_lacking() && (self.all_have_told() || with == Mutation::GivesUpTooEarly),
        );
        may(Event::Replicate, self.left.failovers > 0 && self.replica.is_none());
        may(Event::Failover, self.left.failovers > 0 && self.replica.is_some());
        for (me, member) in self.members.iter().enumerate() {
            let outcome = member.commit.as_ref().map(|commit| commit.outcome);
            // Also after its death: the commit is at the server already.
            may(Event::Execute(me), outcome == Some(None));
            if member.is_dead {
                continue;
            }
            may(Event::Answer(me), outcome.is_some_and(|outcome| outcome.is_some()));
            may(Event::CutCommit(me), outcome.is_some() && self.left.lost_answers > 0);
            may(Event::Kill(me), self.left.deaths > 0);
            may(Event::Cut(me), self.left.cuts > 0 && member.connection.is_some());
            may(
                Event::Read(me),
                member.connection.as_ref().is_some_and(|connection| !connection.sent.is_empty()),
            );
            if member.epoch.is_none() {
                may(Event::Join(me), outcome.is_none());
                continue;
            }
            may(Event::Subscribe(me), self.left.subscriptions > 0 && member.connection.is_none());
            may(
                Event::Open(me),
                member.connection.as_ref().is_some_and(|connection| connection.opened.is_none()),
            );
            may(Event::Report(me), !member.has_reported);
            may(Event::Delay(me), !member.has_reported && self.left.lost_answers > 0 && self.late.is_none());
            let claims = member.claimed.len() < MOST_CLAIMED && self.claims(me);
            may(Event::Claim(me), claims || member.asks);
            may(Event::ClaimInVain(me), claims && self.left.lost_answers > 0);
            may(Event::Send(me), outcome.is_none() && !member.records().is_empty());
            for (other, judged) in self.members.iter().enumerate().filter(|(other, _)| *other != me) {
                may(
                    Event::Judge(me, other),
                    self.left.errors > 0 && !judged.is_dead && judged.epoch.is_some(),
                );
            }
            for epoch in self.without_member() {
                may(Event::Clear(me, epoch), true);
            }
        }
        events
    }
}
