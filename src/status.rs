//! The state of a group: whether it works, and what prevents it. Outages are logged here, once for all tasks that fail.

mod incident;
mod line;
mod task;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::incident::Incident;
use self::line::Line;
pub(crate) use self::line::{Failure, Missed};
pub(crate) use self::task::Task;

/// The state of a group or of one of its shards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It is subscribed (or reads its stream), and nothing that it needs from Redis fails.
    Connected,
    /// It is not subscribed, or cannot read its stream. The group retries until it succeeds. Also when the server has
    /// not answered for 4 seconds.
    #[non_exhaustive]
    Disconnected {
        /// Since when. For a subscription: when the connection last delivered or answered.
        since: Instant,
        /// The failure of the latest attempt and its cause.
        cause: String,
    },
    /// It is subscribed (or reads its stream), and something else that it needs from Redis fails: a commit, or the
    /// renewal of a lease. The group retries until it succeeds. In the meantime, messages wait in the buffer.
    #[non_exhaustive]
    Degraded {
        /// Since when.
        since: Instant,
        /// What fails, for example `cannot append to messages:processed`.
        problem: String,
        /// The cause of the latest failure.
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

/// One task that the group needs, which may fail. Dropping it ends its failure.
#[derive(Debug)]
pub(crate) struct Need {
    status: Status,
    id: u64,
    task: Arc<Task>,
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
    incident: Incident,
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
    task: Arc<Task>,
    since: Instant,
    cause: String,
    /// Whether an attempt failed, so that the task cannot be done.
    was_attempted: bool,
}

/// The total time without a subscription.
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

    /// Registers a task that is needed from now on.
    pub(crate) fn need(&self, task: Task) -> Need {
        let mut shards = self.board.lock();
        shards.needs += 1;
        Need { status: self.clone(), id: shards.needs, task: Arc::new(task) }
    }

    /// Notes dropped messages, for the end of an outage. Returns why the shard cannot append, if it cannot.
    pub(crate) fn dropped(&self, messages: u64) -> Option<String> {
        let mut shards = self.board.lock();
        shards.incident.dropped(messages);
        let mut failing = shards.each[self.shard].failing.iter();
        let append = failing.find(|failing| matches!(*failing.task, Task::Append(_)))?;
        Some(format!("the group {} ({})", append.task.cannot(), append.cause))
    }

    /// The shard begins to stop.
    pub(crate) fn drains(&self) {
        self.change(|shard, _| shard.phase = shard.phase.max(Phase::Draining));
    }

    /// The shard has ended.
    pub(crate) fn ends(&self) {
        self.change(|shard, _| {
            shard.phase = Phase::Ended;
            shard.failing.clear();
        });
        self.give_up();
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

    fn change<T>(&self, change: impl FnOnce(&mut Shard, &mut Incident) -> T) -> T {
        let mut shards = self.board.lock();
        let Shards { each, downtime, incident, .. } = &mut *shards;
        let shard = &mut each[self.shard];
        let changed = change(shard, incident);
        shard.downtime.note(shard.receives_nothing_since());
        downtime.note(each.iter().filter_map(|shard| shard.downtime.since).min());
        let state = shards.state();
        // While the lock is held, so that states are published in order.
        self.board.state.send_if_modified(|published| {
            let changes = *published != state;
            *published = state;
            changes
        });
        changed
    }

    /// Ends the incident without a success, if nothing fails any more.
    fn give_up(&self) {
        log(self.board.lock().give_up());
    }
}

impl Need {
    /// Records a failure that began at this time. If it fails already, only the cause changes. After the end, nothing is
    /// recorded.
    pub(crate) fn fails(&self, since: Instant, failure: Failure<'_>) {
        log(self.status.change(|shard, incident| {
            if shard.phase == Phase::Ended {
                return Vec::new();
            }
            let (cause, was_attempted) = (failure.cause().to_owned(), matches!(failure, Failure::Attempt(_)));
            match shard.failing.iter_mut().find(|failing| failing.need == self.id) {
                Some(failing) => (failing.cause, failing.was_attempted) = (cause, was_attempted),
                None => shard.failing.push(Failing {
                    need: self.id,
                    task: self.task.clone(),
                    since,
                    cause,
                    was_attempted,
                }),
            }
            let main = shard.main().map(|main| (&*main.task, &*main.cause));
            incident.fails(&self.task, since, failure, main)
        }));
    }

    /// Logs that the task cannot be done, and that nothing waits for it yet.
    pub(crate) fn warn(&self, cause: &str) {
        tracing::warn!(
            event = "not_yet",
            task = self.task.name(),
            stream = self.task.stream(),
            cause,
            "{} ({cause}); messages wait until that works",
            self.task.cannot()
        );
    }

    /// Records a gap. If the group is in an outage, it is logged with the end of the outage.
    pub(crate) fn missed(&self, missed: Missed) {
        log(self.status.board.lock().incident.missed(missed));
    }

    /// Records that it works again.
    pub(crate) fn succeeds(&self) {
        self.clear();
        log(self.status.board.lock().end());
    }

    fn clear(&self) {
        self.status.change(|shard, _| shard.failing.retain(|failing| failing.need != self.id));
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        self.clear();
        self.status.give_up();
    }
}

/// Logs while no lock is held: a subscriber may ask for the state.
fn log(lines: impl IntoIterator<Item = Line>) {
    lines.into_iter().for_each(|line| line.log());
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
        let failing = |receiving: bool| {
            let failing = self.each.iter().filter_map(Shard::main);
            failing.filter(move |main| main.task.is_receiving() == receiving).min_by_key(|main| main.since)
        };
        match (self.downtime.since, failing(true), failing(false)) {
            (Some(since), Some(first), _) => first.disconnected(since),
            (.., Some(first)) => first.degraded(),
            _ => State::Connected,
        }
    }

    fn is_failing(&self) -> bool {
        self.each.iter().any(|shard| !shard.failing.is_empty())
    }

    fn end(&mut self) -> Option<Line> {
        if self.is_failing() { None } else { self.incident.over() }
    }

    fn give_up(&mut self) -> Vec<Line> {
        if self.is_failing() { Vec::new() } else { self.incident.given_up() }
    }
}

impl Shard {
    fn state(&self) -> State {
        match (self.phase, self.downtime.since, self.main()) {
            (Phase::Ended, ..) => State::Ended,
            (Phase::Draining, ..) => State::Draining,
            (Phase::Running, Some(since), Some(main)) => main.disconnected(since),
            (Phase::Running, None, Some(main)) => main.degraded(),
            (Phase::Running, ..) => State::Connected,
        }
    }

    /// The failure to report: the first one that stops the receiving, or the first one.
    fn main(&self) -> Option<&Failing> {
        let receiving = self.failing.iter().find(|failing| failing.task.is_receiving());
        receiving.or_else(|| self.failing.first())
    }

    fn receives_nothing_since(&self) -> Option<Instant> {
        let receiving = self.failing.iter().filter(|failing| failing.task.is_receiving());
        receiving.map(|failing| failing.since).min()
    }
}

impl Failing {
    fn disconnected(&self, since: Instant) -> State {
        let Self { task, cause, .. } = self;
        let cause = match self.was_attempted {
            true => format!("{}: {cause}", task.cannot()),
            false => cause.clone(),
        };
        State::Disconnected { since, cause }
    }

    fn degraded(&self) -> State {
        State::Degraded { since: self.since, problem: self.task.cannot(), cause: self.cause.clone() }
    }
}

impl Downtime {
    /// Records since when nothing is received; `None` when something is.
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
