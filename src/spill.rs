//! The spill: where messages go that find the buffer full, until there is room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::appender::{Appender, Urgency};
use crate::message::Span;
use crate::record::Record;
use crate::sink::Records;

/// The way into the spill: records for a lane of its own.
pub(crate) struct Spill {
    appender: Arc<Appender>,
    level: Arc<Level>,
    most: u64,
    /// Whether the lane has stopped taking anything: then it is not waited for again before it does.
    stuck: AtomicBool,
}

/// How many messages are in the spill, about: as it was last looked at, and what went in since.
#[derive(Debug, Default)]
pub(crate) struct Level(AtomicU64);

impl Level {
    pub(crate) fn set(&self, messages: u64) {
        self.0.store(messages, Ordering::Release);
    }

    pub(crate) fn rise(&self, messages: u64) {
        self.0.fetch_add(messages, Ordering::AcqRel);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Spill {
    /// The field of an entry that holds the message.
    const FIELD: &str = "payload";
    /// The lane takes as much as the server does. When it takes nothing for so long, Redis is away or takes no writes.
    const TIMEOUT: Duration = Duration::from_millis(500);

    pub(crate) fn new(appender: Arc<Appender>, level: Arc<Level>, most: u64) -> Self {
        Self { appender, level, most, stuck: AtomicBool::new(false) }
    }

    /// Takes the messages, in order, as far as there is room; how many, and what is full if these are not all.
    pub(crate) async fn take(&self, bytes: &Bytes, spans: &[Span]) -> (usize, &'static str) {
        let room = self.most.saturating_sub(self.level.read());
        let fitting = spans.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut records = Records::new(self.appender.form());
        let mut taken = 0;
        for span in &spans[..fitting] {
            let payload = &bytes[span.start as usize..][..span.len as usize];
            let record = [Record::new().bytes(Self::FIELD, payload)];
            if !records.has_room_for(&record, None) && !self.put(&mut records, &mut taken).await {
                return (taken, STUCK);
            }
            records.push(&record, true, None);
        }
        if !self.put(&mut records, &mut taken).await {
            return (taken, STUCK);
        }
        (taken, SPILL_IS_FULL)
    }

    async fn put(&self, records: &mut Records, taken: &mut usize) -> bool {
        let messages = records.messages();
        let limit = if self.stuck.load(Ordering::Relaxed) { Duration::ZERO } else { Self::TIMEOUT };
        let put = messages == 0 || timeout(limit, self.appender.put(records, Urgency::Now)).await.is_ok();
        self.stuck.store(!put, Ordering::Relaxed);
        if put {
            self.level.rise(messages);
            *taken += usize::try_from(messages).unwrap_or(usize::MAX);
        }
        put
    }
}

const SPILL_IS_FULL: &str = ", and so is the spill; raise the limit of one of them";
const STUCK: &str =
    ", and Redis takes nothing into the spill; check its memory and its connections, raise the limit";
