//! Reports and the ledger as lines on stdout.
//!
//! ```text
//!   due ──► a report is due ──► Figures    the group's own counts
//!                               interval   the counts since the previous report
//!                                  │
//!                               one line, as text (here) or json
//! ```

mod due;
mod figures;
mod interval;
mod json;

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Figures};

pub(crate) use self::due::Due;
use self::figures::Outage;
pub(crate) use self::figures::of_shards;
use self::interval::{Before, Interval};
use self::json::Line;

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    /// One object.
    Json,
}

/// Creates the reports of one group, from its start to its end.
pub(crate) struct Reporter {
    form: Form,
    before: Before,
}

impl Reporter {
    /// The first interval begins now.
    pub(crate) fn new(form: Form) -> Self {
        Self { form, before: Before::start() }
    }

    /// The line about the last second and the interval since the previous report.
    pub(crate) fn report(&mut self, group: &ConsumerGroup) -> String {
        let all = group.handle().figures();
        let interval = self.before.until(&all.ledger);
        match self.form {
            Form::Text => sentence(&interval, &all),
            Form::Json => Line::report(&interval, &all, &of_shards(group.handle())).text(),
        }
    }
}

impl Form {
    /// The last line. As text it is the ledger of all shards together.
    pub(crate) fn ledger(self, all: &Figures, shards: &[Figures]) -> String {
        match self {
            Self::Text => all.ledger.to_string(),
            Self::Json => Line::ledger(all, shards).text(),
        }
    }
}

/// A report as text.
fn sentence(interval: &Interval, figures: &Figures) -> String {
    let messages = |count| if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
    let mut line = format!(
        "Processed {} in the last second. {} in {:.1} s, {} rejected, {} dropped",
        messages(figures.processed_last_second),
        interval.processed,
        interval.lasted.as_secs_f64(),
        interval.rejected,
        interval.dropped,
    );
    if figures.retries_waiting > 0 {
        line += &format!(", {} waiting for a retry", figures.retries_waiting);
    }
    line += &format!(", buffer {:.0} %", figures.buffer.percent());
    if let Some(Outage { problem, lasts, cause }) = Outage::of(figures) {
        line += &format!("; {problem} for {} ({cause})", span(lasts));
    }
    line
}

/// A duration with two or three digits.
fn span(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds if seconds < 600.0 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use redis_consumer_group::{Backlog, State};

    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.processed_last_second = 5;
        figures.state = State::Connected;
        let ledger = &mut figures.ledger;
        (ledger.received, ledger.processed, ledger.skipped, ledger.rejected) = (10, 6, 1, 2);
        (ledger.repeated, ledger.lost) = (4, 3);
        ledger.gaps.count = 1;
        ledger.gaps.total = Duration::from_micros(1_234_567);
        figures
    }

    fn interval() -> Interval {
        Interval { lasted: Duration::from_millis(3001), processed: 6, rejected: 2, dropped: 0 }
    }

    #[test]
    fn a_report_tells_of_the_last_second_and_of_the_whole_interval() {
        assert_eq!(
            sentence(&interval(), &figures()),
            "Processed 5 messages in the last second. 6 in 3.0 s, 2 rejected, 0 dropped, buffer 0 %"
        );
        let mut busy = figures();
        (busy.processed_last_second, busy.retries_waiting) = (1, 7);
        assert_eq!(
            sentence(&interval(), &busy),
            "Processed 1 message in the last second. 6 in 3.0 s, 2 rejected, 0 dropped, 7 waiting for a retry, buffer 0 %"
        );
    }

    #[test]
    fn a_span_has_two_or_three_digits() {
        for (millis, text) in
            [(0, "0.0 s"), (1_234, "1.2 s"), (9_960, "10 s"), (61_000, "61 s"), (3_600_000, "60 min")]
        {
            assert_eq!(span(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn the_ledger_as_json_has_every_column() {
        let line: serde_json::Value = serde_json::from_str(&Form::Json.ledger(&figures(), &[])).unwrap();
        let columns: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        let debug = format!("{:?}", figures().ledger);
        // Every count of the library's ledger, as its own `Debug` names them.
        let counts = debug.trim_start_matches("Ledger { ").split(", gaps: ").next().unwrap();
        for count in counts.split(", ").filter_map(|field| field.split(": ").next()) {
            assert!(columns.contains(&count), "{count} is missing in {columns:?}");
        }
        assert_eq!(
            (&line["type"], &line["processed"], &line["lost"]),
            (&"ledger".into(), &6.into(), &3.into())
        );
        assert_eq!((&line["gaps"], &line["gap_seconds"]), (&1.into(), &1.235.into()));
        assert_eq!((&line["connected"], &line["latest_gaps"]), (&true.into(), &serde_json::json!([])));
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
    }

    #[test]
    fn shards_have_the_same_columns_and_their_number() {
        let mut shards = [Figures::default(), figures()];
        (shards[0].shard, shards[1].shard) = (Some(0), Some(7));
        shards[1].backlog = Some(Backlog::default());
        let of_all = ["type", "time", "shards"];
        for line in
            [Line::report(&interval(), &figures(), &shards).text(), Form::Json.ledger(&figures(), &shards)]
        {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            let (all, shards) = (line.as_object().unwrap(), line["shards"].as_array().unwrap());
            assert_eq!((&shards[0]["shard"], &shards[1]["shard"]), (&0.into(), &7.into()));
            let columns = all.keys().filter(|column| !of_all.contains(&column.as_str()));
            for column in columns.filter(|column| !column.contains("interval")) {
                assert_eq!(all[column], shards[1][column], "{column}");
            }
            assert_eq!(shards[1]["processed"], 6);
        }
        let report = Line::report(&interval(), &figures(), &shards).text();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        assert_eq!(
            (&report["interval_seconds"], &report["rejected_in_interval"]),
            (&3.001.into(), &2.into())
        );
        let behind =
            serde_json::json!({"lag": null, "pending": 0, "oldest_pending_seconds": null, "length": 0});
        assert_eq!(report["shards"][1]["backlog"], behind);
    }
}
