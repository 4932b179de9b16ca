//! Report and ledger as they stand on stdout: as text, or with `--json` as one object a line.

use std::time::Duration;

use redis_consumer_group::{Backlog, Ledger};
use serde::Serialize;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

impl Form {
    /// The line about the last second.
    pub(crate) fn report(
        self,
        processed_last_second: u64,
        ledger: &Ledger,
        backlog: Option<Backlog>,
    ) -> String {
        match self {
            Self::Text => format!("Processed {processed_last_second} messages in the last second."),
            Self::Json => json(&Line::Report {
                processed_last_second,
                received: ledger.received,
                processed: ledger.processed,
                rejected: ledger.rejected,
                dropped: ledger.dropped,
                taken_over: ledger.taken_over,
                in_the_spill: u64::try_from(ledger.in_the_spill()).unwrap_or(0),
                in_flight: ledger.in_flight(),
                gaps: ledger.gaps.count,
                backlog: backlog.map(|backlog| Behind {
                    lag: backlog.lag,
                    pending: backlog.pending,
                    oldest_pending_seconds: backlog.oldest_pending.map(seconds),
                    length: backlog.length,
                }),
            }),
        }
    }

    /// The line at the end.
    pub(crate) fn ledger(self, ledger: &Ledger) -> String {
        match self {
            Self::Text => ledger.to_string(),
            Self::Json => json(&Line::Ledger {
                received: ledger.received,
                processed: ledger.processed,
                skipped: ledger.skipped,
                rejected: ledger.rejected,
                dropped: ledger.dropped,
                abandoned: ledger.abandoned,
                taken_over: ledger.taken_over,
                spilled: ledger.spilled,
                drained: ledger.drained,
                spill_lost: ledger.spill_lost,
                inherited: ledger.inherited,
                deleted: ledger.deleted,
                trimmed: ledger.trimmed,
                trimmed_unknown: ledger.trimmed_unknown,
                group_lost: ledger.group_lost,
                in_flight: ledger.in_flight(),
                gaps: ledger.gaps.count,
                gap_seconds: seconds(ledger.gaps.total),
                latest_gaps: ledger
                    .gaps
                    .latest
                    .iter()
                    .map(|gap| Gap { cause: &gap.cause, seconds: seconds(gap.duration) })
                    .collect(),
            }),
        }
    }
}

/// Counts are messages; `processed` contains `skipped`; `latest_gaps` are 100 at most, oldest first.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Line<'a> {
    Report {
        processed_last_second: u64,
        received: u64,
        processed: u64,
        rejected: u64,
        dropped: u64,
        taken_over: u64,
        in_the_spill: u64,
        in_flight: u64,
        gaps: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        backlog: Option<Behind>,
    },
    Ledger {
        received: u64,
        processed: u64,
        skipped: u64,
        rejected: u64,
        dropped: u64,
        abandoned: u64,
        taken_over: u64,
        spilled: u64,
        drained: u64,
        spill_lost: u64,
        inherited: u64,
        deleted: u64,
        trimmed: u64,
        trimmed_unknown: u64,
        group_lost: u64,
        in_flight: u64,
        gaps: u64,
        gap_seconds: f64,
        latest_gaps: Vec<Gap<'a>>,
    },
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
    cause: &'a str,
    seconds: f64,
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

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        (ledger.received, ledger.processed, ledger.skipped, ledger.rejected) = (10, 6, 1, 2);
        ledger.gaps.count = 1;
        ledger.gaps.total = Duration::from_micros(1_234_567);
        ledger
    }

    #[test]
    fn a_report_is_one_sentence() {
        assert_eq!(Form::Text.report(1234, &ledger(), None), "Processed 1234 messages in the last second.");
    }

    #[test]
    fn a_report_as_json_has_what_is_known_so_far() {
        assert_eq!(
            Form::Json.report(5, &ledger(), None),
            r#"{"type":"report","processed_last_second":5,"received":10,"processed":6,"rejected":2,"dropped":0,"taken_over":0,"in_the_spill":0,"in_flight":2,"gaps":1}"#
        );
    }

    #[test]
    fn a_ledger_as_json_has_every_column() {
        assert_eq!(
            Form::Json.ledger(&ledger()),
            r#"{"type":"ledger","received":10,"processed":6,"skipped":1,"rejected":2,"dropped":0,"abandoned":0,"taken_over":0,"spilled":0,"drained":0,"spill_lost":0,"inherited":0,"deleted":0,"trimmed":0,"trimmed_unknown":0,"group_lost":0,"in_flight":2,"gaps":1,"gap_seconds":1.235,"latest_gaps":[]}"#
        );
    }
}
