//! A lease epoch: the span in which this process may commit what it has read of a stream.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::entry_id::EntryId;

/// One life of this process as a reader of a stream.
///
/// Entries are handed to a name in the stream's group, and the name has a token in Redis. Whoever takes the entries
/// of a dead process over deletes its token first. So a process that was taken for dead (it stood still, or was cut
/// off) can commit nothing more of what it held; it drops that, and goes on under a new name. An epoch that is over
/// never comes back.
pub(crate) struct Epoch {
    /// Chosen anew for each epoch.
    pub(crate) process: Uuid,
    /// The name that the entries are handed to.
    pub(crate) consumer: String,
    /// The key that is there for as long as it lasts. Lanes watch it.
    pub(crate) token: String,
    /// The node that its entries are handed out by, where there are several.
    place: OnceLock<String>,
    over: AtomicBool,
    ended: Notify,
    attempts: mpsc::UnboundedSender<Attempt>,
    /// The number of the last commit that each lane had confirmed, by the lane's key.
    confirmed: Mutex<BTreeMap<String, u64>>,
    /// Entries that its commits have acknowledged.
    acknowledged: AtomicU64,
    many: Notify,
}

/// Why an epoch ends when its server was replaced by one that knows less, or by an earlier state of itself.
pub(crate) const WENT_BACK: &str = "Redis went back to an earlier state";

/// Why an epoch ends when its stream is served by another node.
const MOVED: &str = "the stream moved to another node, which may know less";

/// An attempt at an entry that begins again, for the entry's count in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) id: EntryId,
    /// Counted from 1.
    pub(crate) number: u32,
}

/// What a message that came from a stream is held by: whoever commits what became of it acknowledges this.
#[derive(Clone, Copy)]
pub(crate) struct Receipt<'a> {
    pub(crate) epoch: &'a Arc<Epoch>,
    pub(crate) id: EntryId,
}

impl Epoch {
    /// An epoch that begins. The receiver hears of attempts that begin again.
    pub(crate) fn new(
        process: Uuid,
        consumer: String,
        token: String,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Attempt>) {
        let (attempts, receiver) = mpsc::unbounded_channel();
        let epoch = Self {
            process,
            consumer,
            token,
            place: OnceLock::new(),
            over: AtomicBool::new(false),
            ended: Notify::new(),
            attempts,
            confirmed: Mutex::default(),
            acknowledged: AtomicU64::new(0),
            many: Notify::new(),
        };
        (Arc::new(epoch), receiver)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Ends it: its token is gone, or what Redis knows of it is no longer what it was.
    pub(crate) fn end(&self, why: &str) {
        if !self.over.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                event = "epoch_over",
                cause = why,
                holder = self.consumer,
                "{why}; dropping the entries that {} held, which are processed after their takeover",
                self.consumer
            );
            self.ended.notify_one();
        }
    }

    /// Waits for its end. Heard by one.
    pub(crate) async fn ended(&self) {
        while !self.is_over() {
            self.ended.notified().await;
        }
    }

    /// Ends it where the stream is at another node by now than where its entries were handed out:
    ///
    /// 1. a node hands an entry to us, and dies before its replica has heard of that;
    /// 2. a lane commits the entry at the replica, which was promoted: nothing is pending there to be acknowledged;
    /// 3. the promoted node hands the entry out as a new one, and it is processed a second time.
    ///
    /// So nobody commits at one node what another one has handed out. The reader says where it reads before it reads.
    pub(crate) fn is_at(&self, node: &str) {
        if self.place.get_or_init(|| node.to_owned()) != node {
            self.end(MOVED);
        }
    }

    /// After so many more entries were acknowledged, [`many_acknowledged`](Self::many_acknowledged) comes back.
    pub(crate) const MANY: u64 = 5_000;

    /// A lane had its commit of this number confirmed, which has acknowledged so many entries.
    pub(crate) fn confirm(&self, lane: &str, number: u64, acknowledged: u64) {
        let before = self.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        if before / Self::MANY != (before + acknowledged) / Self::MANY {
            self.many.notify_one();
        }
        let mut confirmed = self.confirmed.lock().unwrap_or_else(PoisonError::into_inner);
        match confirmed.get_mut(lane) {
            Some(last) => *last = number,
            None => drop(confirmed.insert(lane.to_owned(), number)),
        }
    }

    /// Waits until many more entries were acknowledged. Heard by one.
    pub(crate) async fn many_acknowledged(&self) {
        self.many.notified().await;
    }

    /// The last number of each lane that was confirmed. Redis knows no lower ones, unless it has gone back.
    pub(crate) fn confirmed(&self) -> BTreeMap<String, u64> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that another attempt at an entry begins.
    pub(crate) fn begins(&self, id: EntryId, number: u32) {
        // Nobody listens any more once the epoch is over.
        let _ = self.attempts.send(Attempt { id, number });
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epoch").field("consumer", &self.consumer).field("over", &self.is_over()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_its_stream_is_at_another_node() {
        let (epoch, _attempts) = Epoch::new(Uuid::nil(), "us".to_owned(), "token".to_owned());
        epoch.is_at("127.0.0.1:6379");
        epoch.is_at("127.0.0.1:6379");
        assert!(!epoch.is_over());
        epoch.is_at("127.0.0.1:6380");
        assert!(epoch.is_over());
    }
}
