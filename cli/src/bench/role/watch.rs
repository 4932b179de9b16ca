//! Observes the commits of a group as they are confirmed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use redis_consumer_group::Appended as Commit;
use tokio::sync::Notify;

use super::protocol::Appended;
use crate::bench::distribution::Times;
use crate::bench::numbering::Numbering;
use crate::bench::report::Distribution;
use crate::clock;
use crate::pacing::Schedule;

/// Counts confirmed records, and records when all of them are. In an open loop, also the latency of each.
///
/// [`Watch::record`] is called on the group's own thread: it allocates nothing, and its lock is only contended at the end.
pub(super) struct Watch {
    expected: u64,
    confirmed: AtomicU64,
    last: AtomicU64,
    commits: AtomicU64,
    /// CPU of the group's thread at the first commit.
    thread_before: OnceLock<u64>,
    all: OnceLock<Appended>,
    complete: Notify,
    latency: Option<Latency>,
}

struct Latency {
    rate: f64,
    numbering: Numbering,
    schedule: OnceLock<Schedule>,
    times: Mutex<Times>,
}

impl Watch {
    /// Expects this number of messages, at this rate if latency is measured.
    pub(super) fn new(expected: u64, numbering: Numbering, rate: Option<f64>) -> Self {
        let latency = rate.map(|rate| Latency {
            rate,
            numbering,
            schedule: OnceLock::new(),
            times: Mutex::new(Times::new()),
        });
        Self {
            expected,
            confirmed: AtomicU64::new(0),
            last: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            thread_before: OnceLock::new(),
            all: OnceLock::new(),
            complete: Notify::new(),
            latency,
        }
    }

    /// The load begins at this time.
    pub(super) fn begin(&self, at: u64) {
        if let Some(latency) = &self.latency {
            let _ = latency.schedule.set(Schedule::new(at, latency.rate));
        }
    }

    /// A commit is confirmed.
    pub(super) fn record(&self, commit: &Commit<'_>) {
        // Once for each commit: one reply confirms all of its records.
        let now = clock::now();
        if let Some(latency) = &self.latency {
            let records = commit.records();
            latency.record(
                now,
                records.filter_map(|mut fields| fields.find(|(name, _)| *name == b"message_id")),
            );
        }
        let thread_before = *self.thread_before.get_or_init(clock::thread_cpu);
        let commits = self.commits.fetch_add(1, Ordering::AcqRel) + 1;
        let added = commit.len() as u64;
        let before = self.confirmed.fetch_add(added, Ordering::AcqRel);
        self.last.store(now, Ordering::Release);
        if before < self.expected && before + added >= self.expected {
            let thread = Some(clock::thread_cpu() - thread_before);
            let _ = self.all.set(Appended { at: now, cpu: clock::process_cpu(), thread, commits });
            self.complete.notify_one();
        }
    }

    pub(super) fn confirmed(&self) -> u64 {
        self.confirmed.load(Ordering::Acquire)
    }

    /// Waits until all are confirmed. Returns once; cancel safe.
    pub(super) async fn complete(&self) -> Option<Appended> {
        self.complete.notified().await;
        self.all.get().copied()
    }

    /// The last commit, if there was one. Unless all are confirmed, its CPU is the current one.
    pub(super) fn last(&self) -> Option<Appended> {
        let all = self.all.get().copied();
        all.or_else(|| match self.last.load(Ordering::Acquire) {
            0 => None,
            at => {
                let commits = self.commits.load(Ordering::Acquire);
                Some(Appended { at, cpu: clock::process_cpu(), thread: None, commits })
            }
        })
    }

    /// The latency of the messages.
    pub(super) fn latency(&self) -> Option<Distribution> {
        let latency = self.latency.as_ref()?;
        Some(latency.times.lock().unwrap_or_else(PoisonError::into_inner).distribution())
    }
}

impl Latency {
    fn record<'a>(&self, now: u64, ids: impl Iterator<Item = (&'a [u8], &'a [u8])>) {
        let Some(schedule) = self.schedule.get() else { return };
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        for number in ids.filter_map(|(_, id)| self.numbering.number(id)) {
            times.record(now.saturating_sub(schedule.due(number)));
        }
    }
}
