//! The appender: consumers put records in, its lane takes them out as commits.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::Error;
use crate::record::Record;
use crate::sink::{Lane, Records};

/// Records that wait for a lane. While one commit is under way the next one fills, so that what is ready at
/// the same time goes together and nothing waits for company.
#[derive(Default)]
pub(crate) struct Appender {
    state: Mutex<State>,
    /// The lane waits here for records.
    filled: Notify,
    /// Consumers wait here for room.
    room: Notify,
}

#[derive(Default)]
struct State {
    commits: VecDeque<Records>,
    /// An emptied commit, kept for its memory.
    spare: Records,
    lane_waits: bool,
    end: Option<End>,
}

impl State {
    fn has_room(&self) -> bool {
        self.commits.len() < Appender::MOST_COMMITS
            && self.commits.iter().map(Records::bytes).sum::<usize>() < Appender::MOST_BYTES
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// No more records come; the lane ends after the last commit.
    Closed,
    /// The lane has failed. What is put in stays in flight, and is abandoned at the end.
    Failed,
}

impl Appender {
    /// Commits that wait for the lane, at most, and their bytes unless it is one. What does not fit keeps its
    /// consumer waiting, and so its message in the buffer, where it is counted.
    const MOST_COMMITS: usize = 4;
    const MOST_BYTES: usize = Self::MOST_COMMITS * Records::MOST_BYTES;

    /// Adds the records of one message, in as many commits as they need.
    pub(crate) async fn append_all(&self, records: &[Record]) {
        let mut rest = records;
        while let Some(size) = Records::first_commit(rest) {
            let (first, others) = rest.split_at(size);
            self.append(first, others.is_empty()).await;
            rest = others;
        }
    }

    /// Adds records that go into one commit, waiting for room if there is none. `complete` when they are the
    /// last ones of their message.
    pub(crate) async fn append(&self, records: &[Record], complete: bool) {
        loop {
            let room = self.room.notified();
            if self.try_append(records, complete) {
                return;
            }
            room.await;
        }
    }

    /// Commits what is put in, until the appender is closed or the lane fails. `settle` learns of
    /// each confirmed commit.
    pub(crate) async fn run<L: Lane>(&self, mut lane: L, settle: impl Fn(&Records)) -> Result<(), Error> {
        while let Some(records) = self.next_commit().await {
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
        self.filled.notify_one();
    }

    fn try_append(&self, records: &[Record], complete: bool) -> bool {
        let mut state = self.lock();
        if state.end == Some(End::Failed) {
            return true;
        }
        if let Some(last) = state.commits.back_mut().filter(|last| last.has_room_for(records)) {
            last.push(records, complete);
        } else if state.has_room() {
            let mut next = std::mem::take(&mut state.spare);
            next.push(records, complete);
            state.commits.push_back(next);
        } else {
            return false;
        }
        if std::mem::take(&mut state.lane_waits) {
            drop(state);
            self.filled.notify_one();
        }
        true
    }

    async fn next_commit(&self) -> Option<Records> {
        loop {
            {
                let mut state = self.lock();
                if let Some(records) = state.commits.pop_front() {
                    drop(state);
                    self.room.notify_waiters();
                    return Some(records);
                }
                if state.end.is_some() {
                    return None;
                }
                state.lane_waits = true;
            }
            self.filled.notified().await;
        }
    }

    fn recycle(&self, mut records: Records) {
        records.clear();
        self.lock().spare = records;
    }

    fn fail(&self) {
        let mut state = self.lock();
        state.end = Some(End::Failed);
        state.commits.clear();
        drop(state);
        self.room.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::*;

    /// A lane that takes its time, and notes the sizes of its commits.
    struct Slow(Arc<Mutex<Vec<usize>>>, Option<usize>);

    impl Lane for Slow {
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

    fn record() -> [Record; 1] {
        [Record::new().field("f", "v")]
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_message_is_committed_at_once_and_what_comes_meanwhile_goes_together() {
        let (appender, sizes, settled) =
            (Arc::new(Appender::default()), Arc::default(), Arc::new(AtomicU64::new(0)));
        let lane = Slow(Arc::clone(&sizes), None);
        let run = tokio::spawn({
            let (appender, settled) = (appender.clone(), settled.clone());
            async move {
                let settle = |records: &Records| {
                    settled.fetch_add(records.messages(), Ordering::Relaxed);
                };
                appender.run(lane, settle).await
            }
        });
        appender.append(&record(), true).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        for _ in 0..300 {
            appender.append(&record(), true).await;
        }
        appender.close();
        run.await.unwrap().unwrap();
        assert_eq!(*sizes.lock().unwrap(), [1, 256, 44]);
        assert_eq!(settled.load(Ordering::Relaxed), 301);
    }

    #[tokio::test(start_paused = true)]
    async fn consumers_wait_while_the_lane_is_behind() {
        let appender = Arc::new(Appender::default());
        for _ in 0..4 * 256 {
            appender.append(&record(), true).await;
        }
        let waiting = tokio::spawn({
            let appender = appender.clone();
            async move { appender.append(&record(), true).await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!waiting.is_finished());
        let lane = Slow(Arc::default(), None);
        let run = tokio::spawn({
            let appender = appender.clone();
            async move { appender.run(lane, |_| ()).await }
        });
        waiting.await.unwrap();
        appender.close();
        run.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_failed_keeps_no_consumer_waiting() {
        let appender = Arc::new(Appender::default());
        let lane = Slow(Arc::default(), Some(1));
        let run = tokio::spawn({
            let appender = appender.clone();
            async move { appender.run(lane, |_| ()).await }
        });
        for _ in 0..10_000 {
            appender.append(&record(), true).await;
        }
        assert!(run.await.unwrap().is_err());
    }
}
