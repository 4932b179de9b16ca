//! The appender: consumers put records in, and its lanes take them out as commits.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::sink::{Form, Lane, Records, Settled, Size};

/// Records that wait for a lane: as many commits as their [`Size`] allows, with a limit of bytes for more
/// than one. Records that do not fit stay with their consumer, which takes no further message until they do.
/// While a commit is in flight the next one fills, so records that are ready together are committed
/// together, and a lone one does not wait.
pub(crate) struct Appender {
    /// The form of the records for its lanes.
    form: Form,
    state: Mutex<State>,
    /// Wakes the first lane when there are records.
    filled: Notify,
    /// Wakes the second lane when there are more records than go into one commit.
    heaped: Notify,
    /// Wakes consumers when there is room.
    room: Notify,
}

/// When records have to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// As soon as the lane can: this consumer has no more records for now.
    Now,
    /// Within [`Appender::SOON`]. The consumer continues with a message that was waiting: a commit that fills for a
    /// moment leaves the processors the time that several smaller ones would take.
    Soon,
}

#[derive(Default)]
struct State {
    commits: VecDeque<Records>,
    /// Emptied commits, for reuse of their memory.
    spare: Vec<Records>,
    /// Whether some of the records are due [`Now`](Urgency::Now).
    hurried: bool,
    /// The event that the first lane waits for.
    first_waits: Option<Awaited>,
    /// Whether the second lane waits to be woken.
    second_waits: bool,
    /// Whether the second lane is idle, or was woken and has not taken a commit yet.
    second_is_free: bool,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Any record.
    Records,
    /// A reason to commit the records that are there.
    Reason,
}

/// Which of the appender's lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Takes records as soon as it can.
    First,
    /// Helps when there is more than one commit to make, so that the server has work while the first
    /// lane waits for its answer. If it took less, there would be twice as many commits of half the
    /// size, and more work for both sides.
    Second,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// No more records come. The lanes end after the last commit.
    Closed,
    /// A lane has failed. Further records are discarded: their messages stay in flight, and are abandoned at the end.
    Failed,
}

impl Appender {
    /// How long a commit may fill while nobody waits for it.
    const SOON: Duration = Duration::from_millis(1);

    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            state: Mutex::default(),
            filled: Notify::new(),
            heaped: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(crate) fn form(&self) -> Form {
        self.form.clone()
    }

    /// Commits records until the appender is closed or the lane fails. Calls `settle` after each commit.
    pub(crate) async fn run<L: Lane>(
        &self,
        mut lane: L,
        turn: Turn,
        settle: impl Fn(&Records, Settled),
    ) -> Result<(), Error> {
        let mut next = None;
        loop {
            let records = match next.take() {
                Some(records) => Some(records),
                None => tokio::select! {
                    biased;
                    records = self.next_commit(turn) => records,
                    () = lane.due() => {
                        lane.tend().await;
                        continue;
                    }
                },
            };
            let Some(records) = records else { break };
            next = self.next_if_whole(turn);
            match lane.commit(&records, next.as_ref()).await {
                Ok(settled) => settle(&records, settled),
                Err(error) => {
                    self.fail();
                    return Err(error);
                }
            }
            self.recycle(records);
        }
        lane.close().await;
        Ok(())
    }

    /// Closes the appender: no more records come.
    pub(crate) fn close(&self) {
        self.lock().end.get_or_insert(End::Closed);
        self.wake_lanes();
    }

    /// Takes the records, and waits for room if there is none. They go into one commit.
    pub(crate) async fn put(&self, records: &mut Records, urgency: Urgency) {
        loop {
            let room = self.room.notified();
            if self.take(records, urgency) {
                return;
            }
            room.await;
        }
    }

    /// Takes the records if there is room for them.
    fn take(&self, records: &mut Records, urgency: Urgency) -> bool {
        let mut state = self.lock();
        if state.end == Some(End::Failed) {
            records.clear();
            return true;
        }
        let alike = state.commits.iter_mut().rev().find(|commit| commit.is_held_as(records));
        if let Some(last) = alike.filter(|last| last.has_room_for_all(records)) {
            last.append(records);
        } else if state.has_room(self.form.size()) {
            let mut next = state.spare.pop().unwrap_or_else(|| Records::new(self.form.clone()));
            next.append(records);
            state.commits.push_back(next);
        } else {
            return false;
        }
        state.hurried |= urgency == Urgency::Now;
        self.wake_for(state);
        true
    }

    /// Makes all waiting records due now.
    pub(crate) fn hurry(&self) {
        let mut state = self.lock();
        state.hurried |= !state.commits.is_empty();
        self.wake_for(state);
    }

    /// Wakes the lanes whose event has occurred.
    fn wake_for(&self, mut state: MutexGuard<'_, State>) {
        let first = match state.first_waits {
            Some(Awaited::Records) => !state.commits.is_empty(),
            Some(Awaited::Reason) => state.hurried || state.is_heaped(),
            None => false,
        };
        let second = state.second_waits && state.has_for_second();
        if first {
            state.first_waits = None;
        }
        state.second_waits &= !second;
        drop(state);
        if first {
            self.filled.notify_one();
        }
        if second {
            self.heaped.notify_one();
        }
    }

    async fn next_commit(&self, turn: Turn) -> Option<Records> {
        match turn {
            Turn::First => self.next_of_all().await,
            Turn::Second => self.next_of_heap().await,
        }
    }

    async fn next_of_all(&self) -> Option<Records> {
        let mut soon = None;
        loop {
            {
                let mut state = self.lock();
                let late = soon.is_some_and(|soon| soon <= Instant::now());
                let due = state.hurried || state.is_heaped() || late;
                if state.end.is_some() || (due && !state.commits.is_empty()) {
                    return self.pop(state);
                }
                if state.commits.is_empty() {
                    state.first_waits = Some(Awaited::Records);
                } else {
                    soon.get_or_insert_with(|| Instant::now() + Self::SOON);
                    state.first_waits = Some(Awaited::Reason);
                }
            }
            match soon {
                None => self.filled.notified().await,
                Some(soon) => timeout_at(soon, self.filled.notified()).await.unwrap_or_default(),
            }
        }
    }

    async fn next_of_heap(&self) -> Option<Records> {
        loop {
            {
                let mut state = self.lock();
                state.second_is_free = !state.has_for_second() && state.end.is_none();
                if state.has_for_second() {
                    return self.pop(state);
                }
                if state.end.is_some() {
                    return None;
                }
                state.second_waits = true;
            }
            self.heaped.notified().await;
        }
    }

    /// The commit after the one just taken, if no more records go into it and no other lane waits for it.
    fn next_if_whole(&self, turn: Turn) -> Option<Records> {
        let state = self.lock();
        let is_whole = match turn {
            Turn::First => state.is_heaped() && !state.second_is_free,
            Turn::Second => state.has_for_second(),
        };
        if is_whole { self.pop(state) } else { None }
    }

    fn pop(&self, mut state: MutexGuard<'_, State>) -> Option<Records> {
        let records = state.commits.pop_front()?;
        state.hurried &= !state.commits.is_empty();
        // Wakes consumers before the lane runs out of work, but not after each commit.
        let few = state.commits.len() <= self.form.size().most_commits() / 2;
        drop(state);
        if few {
            self.room.notify_waiters();
        }
        Some(records)
    }

    fn recycle(&self, mut records: Records) {
        records.clear();
        let mut state = self.lock();
        if state.spare.len() < Size::Small.most_commits() {
            state.spare.push(records);
        }
    }

    fn fail(&self) {
        let mut state = self.lock();
        state.end = Some(End::Failed);
        state.commits.clear();
        drop(state);
        self.room.notify_waiters();
        self.wake_lanes();
    }

    fn wake_lanes(&self) {
        self.filled.notify_one();
        self.heaped.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether there are more records than go into one commit.
    fn is_heaped(&self) -> bool {
        self.commits.len() > 1
    }

    /// Whether the second lane may take the next commit. If a message needs several commits, the first lane makes
    /// them in order: the message counts as processed with the last one.
    fn has_for_second(&self) -> bool {
        self.is_heaped() && !self.commits.front().is_some_and(Records::is_split)
    }

    fn has_room(&self, size: Size) -> bool {
        let most = size.most_commits();
        self.commits.len() < most
            && self.commits.iter().map(Records::bytes).sum::<usize>() < most * size.most_bytes()
    }
}
