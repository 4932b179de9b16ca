//! Report and ledger as they stand on stdout: as text, or with `--json` as one object a line.

use std::time::Duration;

use redis_consumer_group::{Backlog, ConsumerGroup, Ledger, Shard};
use serde::Serialize;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

/// What there is to tell of a group, or of one of its shards.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    /// The number of the shard.
    pub(crate) shard: Option<u32>,
    pub(crate) processed_last_second: u64,
    pub(crate) ledger: Ledger,
    pub(crate) backlog: Option<Backlog>,
}

impl Figures {
    /// Those of the whole group.
    pub(crate) fn of(group: &ConsumerGroup) -> Self {
        Self {
            shard: None,
            processed_last_second: group.processed_last_second(),
            ledger: group.ledger(),
            backlog: group.backlog(),
        }
    }

    /// Those of each shard; none where there are no shards.
    pub(crate) fn of_shards(group: &ConsumerGroup) -> Vec<Self> {
        let of_shard = |shard: &Shard| Self {
            shard: shard.number(),
            processed_last_second: shard.processed_last_second(),
            ledger: shard.ledger(),
            backlog: shard.backlog(),
        };
        group.shards().iter().map(of_shard).filter(|figures| figures.shard.is_some()).collect()
    }
}

impl Form {
    /// The line about the last second: one for all shards together.
    pub(crate) fn report(self, all: &Figures, shards: &[Figures]) -> String {
        match self {
            Self::Text => format!("Processed {} messages in the last second.", all.processed_last_second),
            Self::Json => json(&Line::Report(Report::new(all, shards))),
        }
    }

    /// The line at the end. As text it is the one of all shards together.
    pub(crate) fn ledger(self, all: &Figures, shards: &[Figures]) -> String {
        match self {
            Self::Text => all.ledger.to_string(),
            Self::Json => json(&Line::Ledger(Account::new(all, shards))),
        }
    }
}

/// Counts are messages.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Report(Report),
    Ledger(Account<'a>),
}

/// Of a group, or of the shard with this number.
#[derive(Serialize)]
struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u32>,
    processed_last_second: u64,
    received: u64,
    processed: u64,
    rejected: u64,
    dropped: u64,
    fenced: u64,
    in_the_spill: u64,
    in_flight: u64,
    gaps: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backlog: Option<Behind>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<Self>,
}

/// The same at the end. `processed` contains `skipped`, `repeated` and `lost`; `latest_gaps` are 100 at most, oldest first.
#[derive(Serialize)]
struct Account<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<u32>,
    received: u64,
    processed: u64,
    skipped: u64,
    rejected: u64,
    dropped: u64,
    abandoned: u64,
    fenced: u64,
    spilled: u64,
    drained: u64,
    spill_lost: u64,
    taken_over: u64,
    deleted: u64,
    trimmed: u64,
    trimmed_unknown: u64,
    group_lost: u64,
    repeated: u64,
    lost: u64,
    in_flight: u64,
    gaps: u64,
    gap_seconds: f64,
    latest_gaps: Vec<Gap<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    shards: Vec<Self>,
}

impl Report {
    fn new(figures: &Figures, shards: &[Figures]) -> Self {
        let Figures { shard, processed_last_second, ledger, backlog } = figures;
        Self {
            shard: *shard,
            processed_last_second: *processed_last_second,
            received: ledger.received,
            processed: ledger.processed,
            rejected: ledger.rejected,
            dropped: ledger.dropped,
            fenced: ledger.fenced,
            in_the_spill: u64::try_from(ledger.in_the_spill()).unwrap_or(0),
            in_flight: ledger.in_flight(),
            gaps: ledger.gaps.count,
            backlog: backlog.map(|backlog| Behind {
                lag: backlog.lag,
                pending: backlog.pending,
                oldest_pending_seconds: backlog.oldest_pending.map(seconds),
                length: backlog.length,
            }),
            shards: shards.iter().map(|shard| Self::new(shard, &[])).collect(),
        }
    }
}

impl<'a> Account<'a> {
    fn new(figures: &'a Figures, shards: &'a [Figures]) -> Self {
        let ledger = &figures.ledger;
        let gap = |gap: &'a redis_consumer_group::Gap| Gap {
            ended: humantime::format_rfc3339_millis(gap.ended).to_string(),
            seconds: seconds(gap.duration),
            cause: &gap.cause,
        };
        Self {
            shard: figures.shard,
            received: ledger.received,
            processed: ledger.processed,
            skipped: ledger.skipped,
            rejected: ledger.rejected,
            dropped: ledger.dropped,
            abandoned: ledger.abandoned,
            fenced: ledger.fenced,
            spilled: ledger.spilled,
            drained: ledger.drained,
            spill_lost: ledger.spill_lost,
            taken_over: ledger.taken_over,
            deleted: ledger.deleted,
            trimmed: ledger.trimmed,
            trimmed_unknown: ledger.trimmed_unknown,
            group_lost: ledger.group_lost,
            repeated: ledger.repeated,
            lost: ledger.lost,
            in_flight: ledger.in_flight(),
            gaps: ledger.gaps.count,
            gap_seconds: seconds(ledger.gaps.total),
            latest_gaps: ledger.gaps.latest.iter().map(gap).collect(),
            shards: shards.iter().map(|shard| Self::new(shard, &[])).collect(),
        }
    }
}

/// Entries of the stream, or of the spill; `lag` is null where Redis does not know it.
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
    cause: &'a str,
}

fn json(line: &Line<'_>) -> String {
    serde_json::to_string(line).unwrap_or_else(|_| unreachable!("numbers and texts only"))
}

/// To the millisecond.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures { processed_last_second: 5, ..Figures::default() };
        let ledger = &mut figures.ledger;
        (ledger.received, ledger.processed, ledger.skipped, ledger.rejected) = (10, 6, 1, 2);
        (ledger.repeated, ledger.lost) = (4, 3);
        ledger.gaps.count = 1;
        ledger.gaps.total = Duration::from_micros(1_234_567);
        figures
    }

    #[test]
    fn a_report_is_one_sentence() {
        let shards = [figures(), figures()];
        assert_eq!(Form::Text.report(&figures(), &shards), "Processed 5 messages in the last second.");
    }

    #[test]
    fn a_report_as_json_has_what_is_known_so_far() {
        assert_eq!(
            Form::Json.report(&figures(), &[]),
            r#"{"type":"report","processed_last_second":5,"received":10,"processed":6,"rejected":2,"dropped":0,"fenced":0,"in_the_spill":0,"in_flight":2,"gaps":1}"#
        );
    }

    #[test]
    fn a_ledger_as_json_has_every_column() {
        assert_eq!(
            Form::Json.ledger(&figures(), &[]),
            r#"{"type":"ledger","received":10,"processed":6,"skipped":1,"rejected":2,"dropped":0,"abandoned":0,"fenced":0,"spilled":0,"drained":0,"spill_lost":0,"taken_over":0,"deleted":0,"trimmed":0,"trimmed_unknown":0,"group_lost":0,"repeated":4,"lost":3,"in_flight":2,"gaps":1,"gap_seconds":1.235,"latest_gaps":[]}"#
        );
    }

    #[test]
    fn shards_have_the_same_columns_and_their_number() {
        let backlog = Backlog::default();
        let shards = [
            Figures { shard: Some(0), ..Figures::default() },
            Figures { shard: Some(7), backlog: Some(backlog), ..figures() },
        ];
        for line in [Form::Json.report(&figures(), &shards), Form::Json.ledger(&figures(), &shards)] {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let (all, shards) = (line.as_object().unwrap(), line["shards"].as_array().unwrap());
            assert_eq!((&shards[0]["shard"], &shards[1]["shard"]), (&0.into(), &7.into()));
            for column in all.keys().filter(|column| !["type", "shards"].contains(&column.as_str())) {
                assert_eq!(all[column], shards[1][column], "{column}");
            }
            assert_eq!(shards[1]["processed"], 6);
        }
        let report = Form::Json.report(&figures(), &shards);
        assert!(
            report.ends_with(
                r#""backlog":{"lag":null,"pending":0,"oldest_pending_seconds":null,"length":0}}]}"#
            ),
            "{report}"
        );
    }
}
