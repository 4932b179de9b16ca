//! State that the engine shares with the user's handle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlog;
use crate::buffer::Buffer;
use crate::events::Events;
use crate::hooks::Hooks;
use crate::intake::Limit;
use crate::ledger::{Counts, Ledger};
use crate::queue::Queue;
use crate::rate::Rate;
use crate::spill::Level;
use crate::status::Status;

/// State that the engine shares with the user's handle.
pub(crate) struct Shared {
    pub(crate) counts: Arc<Counts>,
    pub(crate) events: Arc<Events>,
    pub(crate) status: Status,
    pub(crate) buffer: Arc<Buffer>,
    /// To read the queue's figures while the engine runs.
    pub(super) queue: OnceLock<Weak<Queue>>,
    pub(crate) rate: Rate,
    pub(crate) began: Instant,
    /// Cancelled to stop: unsubscribe, finish and commit the received messages. Shared by all shards, so when one
    /// stops, all stop.
    pub(crate) stop: CancellationToken,
    /// Cancelled to end at once.
    pub(crate) abort: CancellationToken,
    /// Whether the group has ended. Messages in flight at that point are abandoned.
    pub(crate) ended: AtomicBool,
    /// How far the consumer group of the stream or of the spill is behind. `None` until the first check.
    pub(crate) backlog: Arc<Mutex<Option<Backlog>>>,
    /// The limit of received messages, for all shards together.
    pub(crate) limit: Option<Arc<Limit>>,
    /// How full the spill is.
    pub(crate) level: Arc<Level>,
}

impl Shared {
    /// Shared state for a group with a buffer of this many bytes.
    pub(crate) fn new(
        buffer: usize,
        stop: CancellationToken,
        abort: CancellationToken,
        limit: Option<Arc<Limit>>,
        hooks: Hooks,
        status: Status,
    ) -> Arc<Self> {
        let events = Events::new(hooks, status.clone());
        Arc::new(Self {
            counts: events.counts.clone(),
            events,
            status,
            buffer: Buffer::new(buffer),
            queue: OnceLock::new(),
            rate: Rate::new(),
            began: Instant::now(),
            stop,
            abort,
            ended: AtomicBool::new(false),
            backlog: Arc::default(),
            limit,
            level: Arc::default(),
        })
    }

    /// The counts of all messages so far.
    pub(crate) fn ledger(&self) -> Ledger {
        if self.ended.load(Ordering::Acquire) { self.counts.close() } else { self.counts.read() }
    }

    /// Messages that wait for their next attempt.
    pub(crate) fn retries_waiting(&self) -> usize {
        self.queue.get().and_then(Weak::upgrade).map_or(0, |queue| queue.retries_waiting())
    }

    /// Milliseconds since the start: the clock of the rate counter.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
