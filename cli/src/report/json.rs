//! Report and ledger as JSON objects.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use redis_consumer_group::{Figures, State};

use super::figures;
use super::interval::Interval;

/// One line. `skipped` is a part of `processed`; `repeated` and `lost` are parts of `processed` and `rejected`.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// In UTC.
    time: String,
    #[serde(flatten)]
    interval: Option<Since>,
    #[serde(flatten)]
    group: Account<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<Account<'a>>,
}

/// The counts since the previous report.
#[derive(Serialize)]
struct Since {
    interval_seconds: f64,
    processed_in_interval: u64,
    rejected_in_interval: u64,
    dropped_in_interval: u64,
}

/// The figures of a group, or of the shard with this number.
#[derive(Serialize)]
struct Account<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u32>,
    state: &'static str,
    connected: bool,
    disconnected_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outage: Option<Outage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processed_last_second: Option<u64>,
    received: u64,
    processed: u64,
    skipped: u64,
    rejected: u64,
    dropped: u64,
    abandoned: u64,
    fenced: u64,
    retried: u64,
    retries_waiting: usize,
    spilled: u64,
    read_back: u64,
    spill_lost: u64,
    in_the_spill: u64,
    taken_over: u64,
    deleted: u64,
    trimmed: u64,
    trimmed_unknown: u64,
    group_lost: u64,
    repeated: u64,
    lost: u64,
    in_flight: u64,
    buffer_percent: f64,
    gaps: u64,
    gap_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_gap_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest_gaps: Option<Vec<Gap<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<Behind>,
}

/// The current outage.
#[derive(Serialize)]
struct Outage<'a> {
    problem: &'a str,
    seconds: f64,
    cause: &'a str,
}

/// Entries of the stream, or of the spill. `lag` is null if Redis does not know it.
#[derive(Serialize)]
struct Behind {
    lag: Option<u64>,
    pending: u64,
    oldest_pending_seconds: Option<f64>,
    length: u64,
}

#[derive(Serialize)]
struct Gap<'a> {
    /// In UTC.
    ended: String,
    seconds: f64,
    channel: &'a str,
    cause: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn report(interval: &Interval, all: &'a Figures, shards: &'a [Figures]) -> Self {
        let interval = Since {
            interval_seconds: seconds(interval.lasted),
            processed_in_interval: interval.processed,
            rejected_in_interval: interval.rejected,
            dropped_in_interval: interval.dropped,
        };
        Self {
            kind: "report",
            time: time(SystemTime::now()),
            interval: Some(interval),
            group: Account::so_far(all),
            shards: shards.iter().map(Account::so_far).collect(),
        }
    }

    pub(super) fn ledger(all: &'a Figures, shards: &'a [Figures]) -> Self {
        Self {
            kind: "ledger",
            time: time(SystemTime::now()),
            interval: None,
            group: Account::at_the_end(all),
            shards: shards.iter().map(Account::at_the_end).collect(),
        }
    }

    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("numbers and texts only"))
    }
}

impl<'a> Account<'a> {
    fn so_far(figures: &'a Figures) -> Self {
        Self {
            processed_last_second: Some(figures.processed_last_second),
            backlog: figures.backlog.map(|backlog| Behind {
                lag: backlog.lag,
                pending: backlog.pending,
                oldest_pending_seconds: backlog.oldest_pending.map(seconds),
                length: backlog.length,
            }),
            ..Self::new(figures)
        }
    }

    /// With the latest gaps: 100 at most, oldest first.
    fn at_the_end(figures: &'a Figures) -> Self {
        let gap = |gap: &'a redis_consumer_group::Gap| Gap {
            ended: time(gap.ended),
            seconds: seconds(gap.duration),
            channel: &gap.channel,
            cause: &gap.cause,
        };
        let latest = figures.ledger.gaps.latest.iter().map(gap).collect();
        Self { latest_gaps: Some(latest), ..Self::new(figures) }
    }

    fn new(figures: &'a Figures) -> Self {
        let ledger = &figures.ledger;
        Self {
            shard: figures.shard,
            state: match figures.state {
                State::Connected => "connected",
                State::Disconnected { .. } => "disconnected",
                State::Degraded { .. } => "degraded",
                State::Draining => "draining",
                _ => "ended",
            },
            connected: matches!(figures.state, State::Connected | State::Degraded { .. }),
            disconnected_seconds: seconds(figures.disconnected),
            outage: figures::Outage::of(figures).map(|outage| Outage {
                problem: outage.problem,
                seconds: seconds(outage.lasts),
                cause: outage.cause,
            }),
            processed_last_second: None,
            received: ledger.received,
            processed: ledger.processed,
            skipped: ledger.skipped,
            rejected: ledger.rejected,
            dropped: ledger.dropped,
            abandoned: ledger.abandoned,
            fenced: ledger.fenced,
            retried: ledger.retried,
            retries_waiting: figures.retries_waiting,
            spilled: ledger.spilled,
            read_back: ledger.read_back,
            spill_lost: ledger.spill_lost,
            in_the_spill: u64::try_from(ledger.in_the_spill()).unwrap_or(0),
            taken_over: ledger.taken_over,
            deleted: ledger.deleted,
            trimmed: ledger.trimmed,
            trimmed_unknown: ledger.trimmed_unknown,
            group_lost: ledger.group_lost,
            repeated: ledger.repeated,
            lost: ledger.lost,
            in_flight: ledger.in_flight(),
            buffer_percent: (figures.buffer.percent() * 10.0).round() / 10.0,
            gaps: ledger.gaps.count,
            gap_seconds: seconds(ledger.gaps.total),
            open_gap_seconds: ledger.gaps.open.map(seconds),
            latest_gaps: None,
            backlog: None,
        }
    }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// Seconds, rounded to milliseconds.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
