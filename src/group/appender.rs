//! The appender: consumers put records in, its lanes take them out as commits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;
use crate::sink::{Form, Lane, Records};

/// Records that wait for a lane. While one commit is under way the next one fills, so that what is ready at
/// the same time goes together, and a lone message waits for no company.
pub(crate) struct Appender {
    /// What the records for its lanes are made of.
    form: Form,
    state: Mutex<State>,
    /// The first lane waits here for records.
    filled: Notify,
    /// The second lane waits here for more records than go into one commit.
    heaped: Notify,
    /// Consumers wait here for room.
    room: Notify,
}

/// When what is handed on has to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// As soon as the lane can: nothing more comes from this consumer for now.
    Now,
    /// Within [`Appender::SOON`]. Its consumer goes on with a message that waited for it: a commit that fills for a
    /// moment leaves the processors the time that several smaller ones would take.
    Soon,
}

#[derive(Default)]
struct State {
    commits: VecDeque<Records>,
    /// Emptied commits, kept for their memory.
    spare: Vec<Records>,
    /// Whether some of the records were handed on for now.
    hurried: bool,
    /// What the first lane waits for.
    first_waits: Option<Awaited>,
    /// Whether the second lane waits.
    second_waits: bool,
    end: Option<End>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Any record.
    Records,
    /// That there is reason to commit those that are there.
    Reason,
}

/// Which of its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Takes what is there as soon as it can.
    First,
    /// Helps when there is more than one commit to make, so that the server has work while the first one waits for
    /// its answer. Were it to take less, there would be twice as many commits of half the size, and both the server
    /// and we would have more to do.
    Second,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// No more records come; the lanes end after the last commit.
    Closed,
    /// A lane has failed. What is put in stays in flight, and is abandoned at the end.
    Failed,
}

impl Appender {
    /// Commits that wait for the lanes, at most, and their bytes unless it is one. What does not fit stays with its
    /// consumer, which takes no further message meanwhile: see [`Outbox`](super::outbox::Outbox).
    const MOST_COMMITS: usize = 4;
    const MOST_BYTES: usize = Self::MOST_COMMITS * Records::MOST_BYTES;
    /// With so many commits left the consumers are woken: before the lane runs out of work, and not for each one.
    const FEW_COMMITS: usize = Self::MOST_COMMITS / 2;
    /// How long a commit may fill that nobody waits for.
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

    /// Commits what is put in, until the appender is closed or the lane fails. `settle` learns of
    /// each confirmed commit.
    pub(crate) async fn run<L: Lane>(
        &self,
        mut lane: L,
        turn: Turn,
        settle: impl Fn(&Records),
    ) -> Result<(), Error> {
        while let Some(records) = self.next_commit(turn).await {
            if let Err(error) = lane.commit(&records).await {
                self.fail();
                return Err(error);
            }
            settle(&records);
            self.recycle(records);
        }
        lane.close().await;
        Ok(())
    }

    /// Says that no more records come.
    pub(crate) fn close(&self) {
        self.lock().end.get_or_insert(End::Closed);
        self.wake_lanes();
    }

    /// Takes the records, waiting for room if there is none. They go into one commit.
    pub(crate) async fn put(&self, records: &mut Records, haste: Haste) {
        loop {
            let room = self.room.notified();
            if self.take(records, haste) {
                return;
            }
            room.await;
        }
    }

    /// Takes the records if there is room for them.
    fn take(&self, records: &mut Records, haste: Haste) -> bool {
        let mut state = self.lock();
        if state.end == Some(End::Failed) {
            records.clear();
            return true;
        }
        if let Some(last) = state.commits.back_mut().filter(|last| last.has_room_for_all(records)) {
            last.append(records);
        } else if state.has_room() {
            let mut next = state.spare.pop().unwrap_or_else(|| Records::new(self.form.clone()));
            next.append(records);
            state.commits.push_back(next);
        } else {
            return false;
        }
        state.hurried |= haste == Haste::Now;
        self.wake_for(state);
        true
    }

    /// What was handed on for soon has to be committed now.
    pub(crate) fn hurry(&self) {
        let mut state = self.lock();
        state.hurried |= !state.commits.is_empty();
        self.wake_for(state);
    }

    /// Wakes the lanes that wait for what there is.
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

    fn pop(&self, mut state: MutexGuard<'_, State>) -> Option<Records> {
        let records = state.commits.pop_front()?;
        state.hurried &= !state.commits.is_empty();
        let few = state.commits.len() <= Self::FEW_COMMITS;
        drop(state);
        if few {
            self.room.notify_waiters();
        }
        Some(records)
    }

    fn recycle(&self, mut records: Records) {
        records.clear();
        let mut state = self.lock();
        if state.spare.len() < Self::MOST_COMMITS {
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
    /// Whether there is more than goes into one commit.
    fn is_heaped(&self) -> bool {
        self.commits.len() > 1
    }

    /// Whether the second lane may help with the next commit. Those of one message that needs several are left to
    /// the first lane, which makes them in order: the message counts as processed with the last one.
    fn has_for_second(&self) -> bool {
        self.is_heaped() && !self.commits.front().is_some_and(Records::is_split)
    }

    fn has_room(&self) -> bool {
        self.commits.len() < Appender::MOST_COMMITS
            && self.commits.iter().map(Records::bytes).sum::<usize>() < Appender::MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::group::outbox::Outbox;
    use crate::record::Record;

    /// A lane that takes its time, and notes the sizes of its commits.
    struct Slow(Arc<Mutex<Vec<usize>>>, Option<usize>);

    impl Lane for Slow {
        fn form(&self) -> Form {
            Form::default()
        }

        async fn commit(&mut self, records: &Records) -> Result<(), Error> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let mut sizes = self.0.lock().unwrap();
            if self.1 == Some(sizes.len()) {
                return Err(Error::Config { option: "output", problem: "broken".into() });
            }
            sizes.push(records.len());
            Ok(())
        }

        async fn close(&mut self) {}
    }

    async fn append(outbox: &mut Outbox) {
        put(outbox, Haste::Now).await;
    }

    async fn put(outbox: &mut Outbox, haste: Haste) {
        outbox.put(&[Record::new().field("f", "v")]).await;
        outbox.hand_on(haste).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_message_is_committed_at_once_and_what_comes_meanwhile_goes_together() {
        let (appender, sizes, settled) =
            (Arc::new(Appender::new(Form::default())), Arc::default(), Arc::new(AtomicU64::new(0)));
        let lane = Slow(Arc::clone(&sizes), None);
        let run = tokio::spawn({
            let (appender, settled) = (appender.clone(), settled.clone());
            async move {
                let settle = |records: &Records| {
                    settled.fetch_add(records.messages(), Ordering::Relaxed);
                };
                appender.run(lane, Turn::First, settle).await
            }
        });
        let mut outbox = Outbox::new(&appender);
        append(&mut outbox).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        for _ in 0..300 {
            append(&mut outbox).await;
        }
        appender.close();
        run.await.unwrap().unwrap();
        assert_eq!(*sizes.lock().unwrap(), [1, 256, 44]);
        assert_eq!(settled.load(Ordering::Relaxed), 301);
    }

    #[tokio::test(start_paused = true)]
    async fn consumers_wait_while_the_lane_is_behind() {
        let appender = Arc::new(Appender::new(Form::default()));
        let mut outbox = Outbox::new(&appender);
        for _ in 0..4 * 256 {
            append(&mut outbox).await;
        }
        let waiting = tokio::spawn(async move { append(&mut outbox).await });
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!waiting.is_finished());
        let lane = Slow(Arc::default(), None);
        let run = tokio::spawn({
            let appender = appender.clone();
            async move { appender.run(lane, Turn::First, |_| ()).await }
        });
        waiting.await.unwrap();
        appender.close();
        run.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_failed_keeps_no_consumer_waiting() {
        let appender = Arc::new(Appender::new(Form::default()));
        let lane = Slow(Arc::default(), Some(1));
        let run = tokio::spawn({
            let appender = appender.clone();
            async move { appender.run(lane, Turn::First, |_| ()).await }
        });
        let mut outbox = Outbox::new(&appender);
        for _ in 0..10_000 {
            append(&mut outbox).await;
        }
        assert!(run.await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_handed_on_together_goes_into_one_commit() {
        let (appender, sizes) = (Arc::new(Appender::new(Form::default())), Arc::default());
        let mut outbox = Outbox::new(&appender);
        for _ in 0..3 {
            for _ in 0..100 {
                outbox.put(&[Record::new().field("f", "v")]).await;
            }
            outbox.hand_on(Haste::Now).await;
        }
        appender.close();
        appender.run(Slow(Arc::clone(&sizes), None), Turn::First, |_| ()).await.unwrap();
        assert_eq!(*sizes.lock().unwrap(), [200, 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_lane_helps_only_when_there_is_more_than_one_commit() {
        let appender = Arc::new(Appender::new(Form::default()));
        let [first, second]: [Arc<Mutex<Vec<usize>>>; 2] = Default::default();
        let lanes = [(Turn::First, &first), (Turn::Second, &second)].map(|(turn, sizes)| {
            let (appender, lane) = (appender.clone(), Slow(Arc::clone(sizes), None));
            tokio::spawn(async move { appender.run(lane, turn, |_| ()).await })
        });
        let mut outbox = Outbox::new(&appender);
        for records in [1, 100, 600] {
            for _ in 0..records {
                append(&mut outbox).await;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        appender.close();
        for lane in lanes {
            lane.await.unwrap().unwrap();
        }
        assert_eq!(*first.lock().unwrap(), [1, 100, 256, 88]);
        assert_eq!(*second.lock().unwrap(), [256]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_fills_a_commit_for_a_moment() {
        let (appender, sizes) = (Arc::new(Appender::new(Form::default())), Arc::default());
        let lane = Slow(Arc::clone(&sizes), None);
        let run = tokio::spawn({
            let appender = appender.clone();
            async move { appender.run(lane, Turn::First, |_| ()).await }
        });
        let [mut busy, mut other] = [Outbox::new(&appender), Outbox::new(&appender)];
        let committed_within = async |millis| {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            std::mem::take(&mut *sizes.lock().unwrap())
        };
        // A commit takes 10 ms. Its consumer has more to do, until it has not.
        for haste in [Haste::Soon, Haste::Soon, Haste::Now] {
            put(&mut busy, haste).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(committed_within(11).await, [3]);
        // Its consumer is busy for long.
        put(&mut busy, Haste::Soon).await;
        assert_eq!(committed_within(10).await, [0; 0]);
        assert_eq!(committed_within(3).await, [1]);
        // It finds nothing more to do, and has nothing more to hand on.
        put(&mut busy, Haste::Soon).await;
        put(&mut other, Haste::Soon).await;
        busy.hand_on(Haste::Now).await;
        assert_eq!(committed_within(11).await, [2]);
        appender.close();
        run.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_commits_of_one_message_are_made_in_order_by_the_first_lane() {
        let appender = Arc::new(Appender::new(Form::default()));
        let [first, second]: [Arc<Mutex<Vec<usize>>>; 2] = Default::default();
        let lanes = [(Turn::First, &first), (Turn::Second, &second)].map(|(turn, sizes)| {
            let (appender, lane) = (appender.clone(), Slow(Arc::clone(sizes), None));
            tokio::spawn(async move { appender.run(lane, turn, |_| ()).await })
        });
        let mut outbox = Outbox::new(&appender);
        let many: Vec<_> = (0..600).map(|_| Record::new().field("f", "v")).collect();
        outbox.put(&many).await;
        outbox.hand_on(Haste::Now).await;
        appender.close();
        for lane in lanes {
            lane.await.unwrap().unwrap();
        }
        assert_eq!(*first.lock().unwrap(), [256, 256, 88]);
        assert_eq!(*second.lock().unwrap(), [0; 0]);
    }
}
