//! The state of a group: whether it works, and what prevents it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The state of a group or of one of its shards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is subscribed (or reads its stream), and nothing that it needs from Redis fails.
    Connected,
    /// Something that it needs from Redis fails: the subscription or the reading of the stream, a commit, or the
    /// renewal of a lease. The group retries until it succeeds. Also when the server has not answered for 4 seconds.
    #[non_exhaustive]
    Disconnected {
        /// Since when. For a subscription: when the connection last delivered or answered.
        since: Instant,
        /// The failure of the latest attempt and its cause.
        cause: String,
    },
    /// It is stopping: it receives no more messages and finishes the received ones. With shards, also when some shards
    /// have ended and others have not.
    Draining,
    /// It has ended. This state is final.
    Ended,
}

/// The status of one shard, or of a group without shards. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    board: Arc<Board>,
    shard: usize,
}

/// One thing that the group needs, which may fail. Dropping it ends its failure.
#[derive(Debug)]
pub(crate) struct Need {
    status: Status,
    id: u64,
}

/// The states of all shards and of the whole group.
#[derive(Debug)]
struct Board {
    shards: Mutex<Shards>,
    /// The group's state, for tasks that wait for a change.
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct Shards {
    each: Vec<Shard>,
    downtime: Downtime,
    needs: u64,
}

#[derive(Debug, Default)]
struct Shard {
    phase: Phase,
    /// The current failures, in the order in which they began.
    failing: Vec<Failing>,
    downtime: Downtime,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Running,
    Draining,
    Ended,
}

#[derive(Debug)]
struct Failing {
    need: u64,
    since: Instant,
    cause: String,
}

/// The total time of failures.
#[derive(Debug, Default)]
struct Downtime {
    before: Duration,
    /// The end of the last failure. The next failure may begin in the past, but time before this is not counted twice.
    until: Option<Instant>,
    since: Option<Instant>,
}

impl Status {
    /// The statuses of a group's shards; one status for a group without shards.
    pub(crate) fn of_shards(shards: usize) -> Vec<Self> {
        let all = Shards { each: (0..shards).map(|_| Shard::default()).collect(), ..Shards::default() };
        let board = Board { shards: Mutex::new(all), state: watch::Sender::new(State::Connected) };
        let board = Arc::new(board);
        (0..shards).map(|shard| Self { board: board.clone(), shard }).collect()
    }

    /// The status of something that is not a shard.
    #[cfg(any(test, feature = "internals", feature = "testing"))]
    pub(crate) fn alone() -> Self {
        let board = Board { shards: Mutex::default(), state: watch::Sender::new(State::Connected) };
        board.lock().each.push(Shard::default());
        Self { board: Arc::new(board), shard: 0 }
    }

    /// Registers something that is needed from now on.
    pub(crate) fn need(&self) -> Need {
        let mut shards = self.board.lock();
        shards.needs += 1;
        Need { status: self.clone(), id: shards.needs }
    }

    /// The shard begins to stop.
    pub(crate) fn drains(&self) {
        self.change(|shard| shard.phase = shard.phase.max(Phase::Draining));
    }

    /// The shard has ended.
    pub(crate) fn ends(&self) {
        self.change(|shard| {
            shard.phase = Phase::Ended;
            shard.failing.clear();
        });
    }

    /// The shard's state.
    pub(crate) fn state(&self) -> State {
        self.board.lock().each[self.shard].state()
    }

    /// The total time that the shard was disconnected.
    pub(crate) fn disconnected(&self) -> Duration {
        self.board.lock().each[self.shard].downtime.total()
    }

    /// The state of the whole group.
    pub(crate) fn of_group(&self) -> watch::Receiver<State> {
        self.board.state.subscribe()
    }

    /// The total time that any shard of the group was disconnected.
    pub(crate) fn group_disconnected(&self) -> Duration {
        self.board.lock().downtime.total()
    }

    fn change(&self, change: impl FnOnce(&mut Shard)) {
        let mut shards = self.board.lock();
        let shard = &mut shards.each[self.shard];
        change(shard);
        let since = shard.failing.iter().map(|failing| failing.since).min();
        shard.downtime.note(since);
        let since = shards.each.iter().filter_map(|shard| shard.downtime.since).min();
        shards.downtime.note(since);
        let state = shards.state();
        // While the lock is held, so that states are published in order.
        self.board.state.send_if_modified(|told| {
            let changes = *told != state;
            *told = state;
            changes
        });
    }
}

impl Need {
    /// Records a failure that began at this time. If it fails already, only the cause changes. After the end, nothing is
    /// recorded.
    pub(crate) fn fails(&self, since: Instant, cause: String) {
        self.status.change(|shard| {
            if shard.phase == Phase::Ended {
                return;
            }
            match shard.failing.iter_mut().find(|failing| failing.need == self.id) {
                Some(failing) => failing.cause = cause,
                None => shard.failing.push(Failing { need: self.id, since, cause }),
            }
        });
    }

    /// Records that it works again.
    pub(crate) fn is_met(&self) {
        self.status.change(|shard| shard.failing.retain(|failing| failing.need != self.id));
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.is_met();
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Shards> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shards {
    /// The group's state is the worst state of a shard.
    fn state(&self) -> State {
        let phases = || self.each.iter().map(|shard| shard.phase);
        if phases().all(|phase| phase == Phase::Ended) {
            return State::Ended;
        }
        if phases().any(|phase| phase != Phase::Running) {
            return State::Draining;
        }
        let failing = self.each.iter().filter_map(|shard| shard.failing.first());
        match (self.downtime.since, failing.min_by_key(|failing| failing.since)) {
            (Some(since), Some(first)) => State::Disconnected { since, cause: first.cause.clone() },
            _ => State::Connected,
        }
    }
}

impl Shard {
    fn state(&self) -> State {
        match (self.phase, self.downtime.since, self.failing.first()) {
            (Phase::Ended, ..) => State::Ended,
            (Phase::Draining, ..) => State::Draining,
            (Phase::Running, Some(since), Some(first)) => {
                State::Disconnected { since, cause: first.cause.clone() }
            }
            (Phase::Running, ..) => State::Connected,
        }
    }
}

impl Downtime {
    /// Records since when something fails; `None` when nothing fails.
    fn note(&mut self, failing: Option<Instant>) {
        match (self.since, failing) {
            (None, Some(since)) => self.since = Some(self.until.map_or(since, |until| since.max(until))),
            (Some(since), None) => {
                let now = Instant::now();
                self.before += now - since;
                self.until = Some(now);
                self.since = None;
            }
            _ => {}
        }
    }

    fn total(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn cause(state: &State) -> &str {
        match state {
            State::Disconnected { cause, .. } => cause,
            _ => panic!("{state:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_disconnected_while_anything_fails_and_since_the_first_did() {
        let status = Status::alone();
        let (subscription, lane) = (status.need(), status.need());
        sleep(SECOND).await;
        let began = Instant::now();
        subscription.fails(began, "refused".into());
        sleep(SECOND).await;
        lane.fails(Instant::now(), "out of memory".into());
        subscription.fails(Instant::now(), "timed out".into());
        assert_eq!(status.state(), State::Disconnected { since: began, cause: "timed out".into() });
        subscription.is_met();
        assert_eq!(status.state(), State::Disconnected { since: began, cause: "out of memory".into() });
        sleep(SECOND).await;
        drop(lane);
        assert_eq!((status.state(), status.disconnected()), (State::Connected, 2 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_began_before_the_last_one_ended_counts_once() {
        let status = Status::alone();
        let (began, need) = (Instant::now(), status.need());
        sleep(SECOND).await;
        need.fails(began, "refused".into());
        need.is_met();
        sleep(SECOND).await;
        need.fails(began, "refused".into());
        sleep(SECOND).await;
        assert_eq!(status.disconnected(), 3 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_group_is_as_its_worst_shard_and_ends_with_the_last() {
        let shards = Status::of_shards(2);
        let mut group = shards[0].of_group();
        let needs = [shards[0].need(), shards[1].need()];
        let began = Instant::now();
        needs[1].fails(began, "one".into());
        assert_eq!(cause(&group.borrow_and_update()), "one");
        assert_eq!(shards[0].state(), State::Connected);
        sleep(SECOND).await;
        needs[0].fails(Instant::now(), "nought".into());
        assert!(!group.has_changed().unwrap(), "the first one stays the cause");
        needs[1].is_met();
        assert_eq!(cause(&group.borrow_and_update()), "nought");
        sleep(SECOND).await;
        needs[0].is_met();
        let each = [shards[0].disconnected(), shards[1].disconnected()];
        assert_eq!((each, shards[0].group_disconnected()), ([SECOND, SECOND], 2 * SECOND));
        shards[0].drains();
        shards[0].ends();
        assert_eq!(*group.borrow_and_update(), State::Draining);
        shards[1].ends();
        needs[1].fails(Instant::now(), "late".into());
        assert_eq!(*group.borrow_and_update(), State::Ended);
    }
}
