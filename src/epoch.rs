//! A lease epoch: the span in which this process may commit the entries that it has read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::entry_id::EntryId;

/// A span in which this process may commit the entries of a stream that it has read.
///
/// Entries are delivered to a consumer name in the stream's group, and each name has a fencing token in Redis.
/// A takeover deletes the token first. So a process that was wrongly taken for dead (it was frozen, or
/// disconnected) cannot commit the entries it held; it discards them, and continues under a new name. An epoch
/// that is over never comes back.
pub(crate) struct Epoch {
    /// A new id for each epoch.
    pub(crate) process: Uuid,
    /// The consumer name in the stream's group.
    pub(crate) consumer: String,
    /// The key of the fencing token, which exists as long as the epoch. Lanes watch it.
    pub(crate) token: String,
    /// The node that delivers its entries, on a cluster or behind sentinels.
    place: OnceLock<String>,
    over: AtomicBool,
    ended: Notify,
    attempts: mpsc::UnboundedSender<Attempt>,
    /// The number of each lane's last confirmed commit, by the lane's key.
    confirmed: Mutex<BTreeMap<String, u64>>,
    /// The number of entries that its commits have acknowledged.
    acknowledged: AtomicU64,
    many: Notify,
}

/// Why an epoch ends when its server was replaced by one with older data, or went back to an earlier state.
pub(crate) const WENT_BACK: &str = "Redis went back to an earlier state";

/// Why an epoch ends when another node serves its stream.
const MOVED: &str = "the stream moved to another node, which may know less";

/// A further attempt at an entry, for the entry's count in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) id: EntryId,
    /// Counted from 1.
    pub(crate) number: u32,
}

/// The entry that a message came from, and the epoch that holds it. The commit of the
/// message's records acknowledges it.
#[derive(Clone, Copy)]
pub(crate) struct Receipt<'a> {
    pub(crate) epoch: &'a Arc<Epoch>,
    pub(crate) id: EntryId,
}

impl Epoch {
    /// A new epoch. The receiver gets further attempts at its entries.
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

    /// Ends the epoch: its token is gone, or Redis has lost part of its state.
    pub(crate) fn end(&self, why: &str) {
        if !self.over.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                event = "epoch_over",
                cause = why,
                holder = self.consumer,
                "{why}; discarding the entries that {} held; they are processed after a takeover",
                self.consumer
            );
            self.ended.notify_one();
        }
    }

    /// Waits for the end of the epoch. Wakes one waiter.
    pub(crate) async fn ended(&self) {
        while !self.is_over() {
            self.ended.notified().await;
        }
    }

    /// Ends the epoch if the stream is at another node than the one that delivered its entries. Otherwise:
    ///
    /// 1. A node delivers an entry to us, and dies before its replica has received that.
    /// 2. The replica is promoted, and a lane commits the entry there: nothing is pending that could be acknowledged.
    /// 3. The promoted node delivers the entry again, and it is processed twice.
    ///
    /// So an entry is only committed at the node that delivered it. The reader calls this before each read.
    pub(crate) fn must_be_at(&self, node: &str) {
        if self.place.get_or_init(|| node.to_owned()) != node {
            self.end(MOVED);
        }
    }

    /// How many acknowledged entries make [`many_acknowledged`](Self::many_acknowledged) return.
    pub(crate) const MANY: u64 = 5_000;

    /// Notes a lane's confirmed commit of this number, and how many entries it acknowledged.
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

    /// Waits until [`MANY`](Self::MANY) more entries were acknowledged. Wakes one waiter.
    pub(crate) async fn many_acknowledged(&self) {
        self.many.notified().await;
    }

    /// The number of each lane's last confirmed commit. The number in Redis is lower only if Redis went back.
    pub(crate) fn confirmed(&self) -> BTreeMap<String, u64> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reports that a further attempt at an entry begins.
    pub(crate) fn begins(&self, id: EntryId, number: u32) {
        // The receiver is dropped once the epoch is over.
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
        epoch.must_be_at("127.0.0.1:6379");
        epoch.must_be_at("127.0.0.1:6379");
        assert!(!epoch.is_over());
        epoch.must_be_at("127.0.0.1:6380");
        assert!(epoch.is_over());
    }
}
