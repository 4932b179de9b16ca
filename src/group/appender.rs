//! The appender: consumers put records in, its lanes take them out as commits.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::Error;
use crate::record::Record;
use crate::sink::{Form, Lane, Records};

/// Records that wait for a lane. While one commit is under way the next one fills, so that what is ready at
/// the same time goes together and nothing waits for company.
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

/// One consumer's records on their way to an appender.
///
/// A quick consumer hands on those of a few messages at once. It must not wait for anything with records in here.
pub(crate) struct Outbox {
    appender: Arc<Appender>,
    records: Records,
}

#[derive(Default)]
struct State {
    commits: VecDeque<Records>,
    /// Emptied commits, kept for their memory.
    spare: Vec<Records>,
    /// Whether the first lane waits, and the second.
    waits: [bool; 2],
    end: Option<End>,
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
    /// Commits that wait for the lane, at most, and their bytes unless it is one. What does not fit keeps its
    /// consumer waiting, and so its message in the buffer, where it is counted.
    const MOST_COMMITS: usize = 4;
    const MOST_BYTES: usize = Self::MOST_COMMITS * Records::MOST_BYTES;
    /// With so many commits left the consumers are woken: before the lane runs out of work, and not for each one.
    const FEW_COMMITS: usize = Self::MOST_COMMITS / 2;

    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            state: Mutex::default(),
            filled: Notify::new(),
            heaped: Notify::new(),
            room: Notify::new(),
        }
    }

    pub(crate) fn outbox(self: &Arc<Self>) -> Outbox {
        Outbox { appender: self.clone(), records: Records::new(self.form.clone()) }
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

    /// Takes the records if there is room for them. They go into one commit.
    fn take(&self, records: &mut Records) -> bool {
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
        let heaped = state.is_heaped();
        let [first, second] = &mut state.waits;
        let (first, second) = (std::mem::take(first), heaped && std::mem::take(second));
        drop(state);
        if first {
            self.filled.notify_one();
        }
        if second {
            self.heaped.notify_one();
        }
        true
    }

    async fn next_commit(&self, turn: Turn) -> Option<Records> {
        loop {
            {
                let mut state = self.lock();
                let next = match turn {
                    Turn::Second if !state.is_heaped() => None,
                    Turn::First | Turn::Second => state.commits.pop_front(),
                };
                if let Some(records) = next {
                    let few = state.commits.len() <= Self::FEW_COMMITS;
                    drop(state);
                    if few {
                        self.room.notify_waiters();
                    }
                    return Some(records);
                }
                if state.end.is_some() {
                    return None;
                }
                state.waits[turn as usize] = true;
            }
            match turn {
                Turn::First => self.filled.notified().await,
                Turn::Second => self.heaped.notified().await,
            }
        }
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

impl Outbox {
    /// With so many bytes in it, it is handed on.
    const MOST_BYTES: usize = 16 << 10;

    /// Puts the records of one message in, if that can be done without waiting.
    pub(crate) fn try_put(&mut self, records: &[Record]) -> bool {
        let fits = self.records.bytes() < Self::MOST_BYTES && self.records.has_room_for(records);
        let fits = fits && (records.len() == 1 || Records::first_commit(records) == Some(records.len()));
        if fits {
            self.records.push(records, true);
        }
        fits
    }

    /// Puts the records of one message in. They go together, in as many commits as they need.
    pub(crate) async fn put(&mut self, records: &[Record]) {
        let mut rest = records;
        while let Some(size) = Records::first_commit(rest) {
            let (first, others) = rest.split_at(size);
            if !self.records.has_room_for(first) {
                self.hand_on().await;
            }
            self.records.push(first, others.is_empty());
            rest = others;
        }
        if self.records.bytes() > Self::MOST_BYTES {
            self.hand_on().await;
        }
    }

    /// Hands on what is in it, waiting for room if there is none.
    pub(crate) async fn hand_on(&mut self) {
        if self.records.is_empty() {
            return;
        }
        loop {
            let room = self.appender.room.notified();
            if self.appender.take(&mut self.records) {
                break;
            }
            room.await;
        }
        // There may be thousands of outboxes.
        self.records.shrink_to(Self::MOST_BYTES);
    }
}

impl State {
    /// Whether there is more than goes into one commit.
    fn is_heaped(&self) -> bool {
        self.commits.len() > 1
    }

    fn has_room(&self) -> bool {
        self.commits.len() < Appender::MOST_COMMITS
            && self.commits.iter().map(Records::bytes).sum::<usize>() < Appender::MOST_BYTES
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

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
        outbox.put(&[Record::new().field("f", "v")]).await;
        outbox.hand_on().await;
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
        let mut outbox = appender.outbox();
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
        let mut outbox = appender.outbox();
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
        let mut outbox = appender.outbox();
        for _ in 0..10_000 {
            append(&mut outbox).await;
        }
        assert!(run.await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_handed_on_together_goes_into_one_commit() {
        let (appender, sizes) = (Arc::new(Appender::new(Form::default())), Arc::default());
        let mut outbox = appender.outbox();
        for _ in 0..3 {
            for _ in 0..100 {
                outbox.put(&[Record::new().field("f", "v")]).await;
            }
            outbox.hand_on().await;
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
        let mut outbox = appender.outbox();
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
}
