//! The spill: takes messages that find the buffer full, until there is room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::appender::{Appender, Urgency};
use crate::dropped::DropCause;
use crate::message::Span;
use crate::record::Record;
use crate::sink::Records;

/// The way into the spill: messages become records for the spill's own lane.
pub(crate) struct Spill {
    appender: Arc<Appender>,
    level: Arc<Level>,
    most: u64,
    /// Whether the last attempt timed out: then the next one does not wait, until the lane takes records again.
    stuck: AtomicBool,
}

/// About how many messages are in the spill: the last measured number, and those added since.
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
    /// How long to wait for the lane, which is as fast as the server. After that, Redis is
    /// unreachable or refuses writes.
    const TIMEOUT: Duration = Duration::from_millis(500);

    pub(crate) fn new(appender: Arc<Appender>, level: Arc<Level>, most: u64) -> Self {
        Self { appender, level, most, stuck: AtomicBool::new(false) }
    }

    /// Takes messages in order, while there is room. Returns how many, and why not more if these are not all.
    pub(crate) async fn take(&self, bytes: &Bytes, spans: &[Span]) -> (usize, DropCause) {
        let room = self.most.saturating_sub(self.level.read());
        let fitting = spans.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let mut records = Records::new(self.appender.form());
        let mut taken = 0;
        for span in &spans[..fitting] {
            let payload = &bytes[span.start as usize..][..span.len as usize];
            let record = [Record::new().bytes(Self::FIELD, payload)];
            if !records.has_room_for(&record, None) && !self.put(&mut records, &mut taken).await {
                return (taken, DropCause::SpillUnavailable);
            }
            records.push(&record, true, None);
        }
        if !self.put(&mut records, &mut taken).await {
            return (taken, DropCause::SpillUnavailable);
        }
        (taken, DropCause::SpillFull)
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
