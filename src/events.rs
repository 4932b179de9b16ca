//! Events of messages. Each is counted, logged, and passed to the user's hooks.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::consumer::Consumer;
use crate::dropped::DropCause;
use crate::hooks::Hooks;
use crate::ledger::{Counts, Gap};
use crate::record;
use crate::rejected::{self, RejectedEntry};
use crate::sink::Records;
use crate::status::{Missed, Status};
use crate::text::{Count, Size, entries, messages};
use crate::throttle::{Decision, Throttle};

/// Reports gaps, drops, rejects, retries, spills and takeovers of one group or shard.
#[derive(Default)]
pub(crate) struct Events {
    pub(crate) counts: Arc<Counts>,
    pub(crate) hooks: Hooks,
    drops: Throttle<Dropped>,
    rejects: Throttle<Rejected>,
    retries: Throttle<Retried>,
    spilled: Throttle<Arc<str>>,
    takeovers: Throttle<TakenOver>,
    /// Notified when a line is delayed.
    delayed: Notify,
    /// What the group needs from Redis and cannot have. `None` where no group runs.
    status: Option<Status>,
}

/// Why messages were dropped.
struct Dropped {
    channel: Arc<str>,
    buffer: usize,
    /// Text about the other resource that is full, and about the remedy.
    full: &'static str,
    /// Why nothing leaves the buffer, if the consumers are not the reason.
    blocked: Option<String>,
}

/// The last of several rejected messages.
struct Rejected {
    reason: String,
    consumer: String,
    stream: String,
}

/// The last of several failed attempts.
struct Retried {
    reason: String,
    consumer: Consumer,
}

/// The previous holder of the last entries that were taken over.
struct TakenOver {
    holder: String,
    stream: String,
}

impl Events {
    pub(crate) fn new(hooks: Hooks, status: Status) -> Arc<Self> {
        Arc::new(Self { hooks, status: Some(status), ..Self::default() })
    }

    /// Nothing has been received since then. The gap is open until [`gap`](Self::gap) reports its end.
    pub(crate) fn gap_begins(&self, since: Instant) {
        self.counts.gap_begins(since);
    }

    /// Reports the end of a gap.
    pub(crate) fn gap(&self, channel: &str, cause: String, duration: Duration) {
        let missed = Missed { channel: channel.to_owned(), cause, lasted: duration };
        missed.log();
        self.count_gap(&missed);
    }

    /// Reports the end of a gap that is logged with the end of an outage.
    pub(crate) fn count_gap(&self, missed: &Missed) {
        let Missed { channel, cause, lasted } = missed.clone();
        let gap = Gap { channel, shard: self.hooks.shard, cause, duration: lasted, ended: SystemTime::now() };
        self.counts.gap(gap.clone());
        self.hooks.on_gap(&gap);
    }

    /// Reports dropped messages: they found a buffer of this many bytes full.
    pub(crate) fn dropped(&self, count: u64, channel: &Arc<str>, buffer: usize, cause: DropCause) {
        self.counts.add_dropped(count);
        self.hooks.on_drop(count, channel, cause);
        let blocked = self.status.as_ref().and_then(|status| status.dropped(count));
        let dropped = Dropped { channel: channel.clone(), buffer, full: cause.advice(), blocked };
        self.log(self.drops.add(count, dropped), Dropped::log);
    }

    /// Reports messages that are confirmed to be in the stream of rejected messages.
    pub(crate) fn rejected(&self, records: &Records, stream: &str) {
        let count = records.messages();
        self.counts.reject(count);
        let entries = || records.iter().map(|entry| record::fields(entry.encoded, entry.fields));
        self.hooks.on_reject(entries().filter_map(rejected::Rejected::of));
        if let Some(last) = entries().last() {
            let fields: Vec<_> = last.collect();
            self.log(self.rejects.add(count, Rejected::new(&fields, stream)), Rejected::log);
        }
    }

    /// Reports a failed attempt at a message that will be retried.
    pub(crate) fn retries(&self, reason: String, consumer: &Consumer) {
        self.counts.retry();
        let retried = Retried { reason, consumer: consumer.clone() };
        self.log(self.retries.add(1, retried), Retried::log);
    }

    /// Reports messages that are confirmed to be in the spill.
    pub(crate) fn spilled(&self, count: u64, spill: &Arc<str>) {
        self.counts.spill(count);
        self.log(self.spilled.add(count, spill.clone()), log_spilled);
    }

    /// Reports entries that were taken over from another consumer of the stream's group.
    pub(crate) fn taken_over(&self, count: u64, holder: &str, stream: &str) {
        self.counts.take_over(count);
        let taken_over = TakenOver { holder: holder.to_owned(), stream: stream.to_owned() };
        self.log(self.takeovers.add(count, taken_over), TakenOver::log);
    }

    /// Logs delayed lines within a few seconds. Never returns.
    pub(crate) async fn log_delayed(&self) {
        loop {
            self.delayed.notified().await;
            sleep(Throttle::<()>::EVERY).await;
            self.log_rest();
        }
    }

    /// Logs all delayed lines now.
    pub(crate) fn log_rest(&self) {
        rest(&self.drops, Dropped::log);
        rest(&self.rejects, Rejected::log);
        rest(&self.retries, Retried::log);
        rest(&self.spilled, log_spilled);
        rest(&self.takeovers, TakenOver::log);
    }

    fn log<T>(&self, decision: Decision<T>, log: impl FnOnce(T, u64)) {
        match decision {
            Decision::LogNow(count, last) => log(last, count),
            Decision::LogLater => self.delayed.notify_one(),
            Decision::AlreadyDelayed => {}
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("counts", &self.counts).finish_non_exhaustive()
    }
}

fn rest<T>(throttle: &Throttle<T>, log: impl FnOnce(T, u64)) {
    if let Some((count, last)) = throttle.rest() {
        log(last, count);
    }
}

impl Dropped {
    fn log(self, count: u64) {
        let Self { channel, buffer, full, blocked } = self;
        let why = match &blocked {
            Some(cause) => format!(" because {cause}{full} to outlast that"),
            None => format!("{full}, or add consumers"),
        };
        tracing::warn!(
            event = "drop",
            channel = &*channel,
            count,
            cause = blocked,
            "dropped {} of {channel}: the buffer of {} is full{why}",
            messages(count),
            Size(buffer)
        );
    }
}

impl Rejected {
    /// Of an entry with these fields.
    fn new(fields: &[(&[u8], &[u8])], stream: &str) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let entry = RejectedEntry::of(fields);
        let (reason, consumer) =
            entry.map(|entry| (text(entry.error), text(entry.consumer_id))).unwrap_or_default();
        Self { reason, consumer, stream: stream.to_owned() }
    }

    fn log(self, count: u64) {
        let Self { reason, consumer, stream } = self;
        // Quoted, because the reason may contain published text.
        tracing::warn!(
            event = "reject",
            stream,
            count,
            cause = reason,
            consumer,
            "rejected {}, the last one because {reason:?}; see the stream {stream}",
            messages(count)
        );
    }
}

impl Retried {
    fn log(self, count: u64) {
        let Self { reason, consumer } = self;
        tracing::warn!(
            event = "retry",
            count,
            cause = reason,
            consumer = consumer.id(),
            "{} failed, the last one because {reason:?}; retrying",
            Count(count, "attempt", "attempts")
        );
    }
}

fn log_spilled(spill: Arc<str>, count: u64) {
    tracing::info!(
        event = "spill",
        stream = &*spill,
        count,
        "spilled {} to {spill}: the buffer is full",
        messages(count)
    );
}

impl TakenOver {
    fn log(self, count: u64) {
        let Self { holder, stream } = self;
        tracing::info!(
            event = "takeover",
            stream,
            count,
            holder,
            "took over {} of {stream}, the last ones from {holder}",
            entries(count)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_not_logged_at_once_is_logged_within_five_seconds() {
        let events = Events::default();
        let channel = "c".into();
        events.dropped(1, &channel, 1, DropCause::BufferFull);
        events.dropped(2, &channel, 1, DropCause::BufferFull);
        let logging = tokio::time::timeout(Duration::from_secs(5), events.log_delayed()).await;
        logging.unwrap_err();
        assert!(events.drops.rest().is_none());
        assert_eq!(events.counts.read().dropped, 3);
    }
}
