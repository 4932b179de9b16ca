//! One row for each run, for spreadsheets and scripts.
//!
//! The columns are the figures of the JSON, named by their path in it (`delivery.lost`). Lists are left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::bench::report::Report;

type Row = BTreeMap<String, String>;

/// These columns come first, the others follow by name. A run without a figure has an empty field.
const FIRST: [&str; 8] = [
    "kind",
    "run",
    "cluster.nodes",
    "cluster.shards",
    "consumers",
    "rate",
    "messages",
    "messages_per_second",
];

/// The rows of all runs below one header; nothing without runs.
pub(crate) fn csv(report: &Report) -> String {
    let rows = rows(report);
    let names: BTreeSet<_> = rows.iter().flat_map(Row::keys).map(String::as_str).collect();
    let first = FIRST.into_iter().filter(|name| names.contains(name));
    let columns: Vec<_> = first.chain(names.iter().copied().filter(|name| !FIRST.contains(name))).collect();
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    if !rows.is_empty() {
        let lines =
            rows.iter().map(|row| columns.iter().map(|name| row.get(*name).map_or("", String::as_str)));
        for line in [columns.clone()].into_iter().chain(lines.map(Iterator::collect)) {
            writer.write_record(line).unwrap_or_else(|_| unreachable!("equally long rows into memory"));
        }
    }
    let bytes = writer.into_inner().unwrap_or_else(|_| unreachable!("into memory"));
    String::from_utf8(bytes).unwrap_or_else(|_| unreachable!("made of text"))
}

/// Every list of the report has runs.
fn rows(report: &Report) -> Vec<Row> {
    let report = serde_json::to_value(report).unwrap_or_else(|_| unreachable!("numbers and texts only"));
    let lists = report.as_object().into_iter().flatten();
    let runs = lists.flat_map(|(kind, runs)| {
        runs.as_array().into_iter().flatten().zip(1..).map(move |(run, number)| row(kind, number, run))
    });
    runs.collect()
}

fn row(kind: &str, number: usize, run: &Value) -> Row {
    let mut row = Row::from([("kind".to_owned(), kind.to_owned()), ("run".to_owned(), number.to_string())]);
    flatten(String::new(), run, &mut row);
    if let (Some(messages), Some(seconds)) = (run["messages"].as_f64(), run["seconds"].as_f64()) {
        let rate = messages / seconds;
        row.extend(rate.is_finite().then(|| ("messages_per_second".to_owned(), rate.to_string())));
    }
    row
}

fn flatten(path: String, value: &Value, row: &mut Row) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(path, value, row);
            }
        }
        Value::String(text) => drop(row.insert(path, text.clone())),
        Value::Number(number) => drop(row.insert(path, number.to_string())),
        Value::Bool(bool) => drop(row.insert(path, bool.to_string())),
        Value::Null | Value::Array(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;
    use crate::bench::report::Outcome;

    #[test]
    fn the_rows_are_as_reviewed() {
        let report = Report { work_limit: sample::with_work().work_limit, ..sample::report() };
        insta::assert_snapshot!(csv(&report));
    }

    #[test]
    fn each_run_is_a_row() {
        let (stream, cluster) = (sample::of_a_stream(), sample::of_a_cluster());
        let (stream_rows, cluster_rows) = (csv(&stream), csv(&cluster));
        let rows = |csv: &str, kind| csv.lines().filter(|line| line.starts_with(&format!("{kind},"))).count();
        let counts = ["bare", "spill", "throughput"].map(|kind| rows(&stream_rows, kind));
        assert_eq!(counts, [stream.bare.len(), stream.spill.len(), stream.throughput.len()]);
        assert_eq!(rows(&cluster_rows, "scaling"), cluster.scaling.len());
    }

    #[test]
    fn a_reason_with_commas_and_quotes_stays_one_field() {
        let mut report = sample::report();
        let reason = "slow, \"very\"\nslow";
        report.latency[0].outcome = Outcome::Missed { rate: 1.0, reason: reason.to_owned() };
        let csv = csv(&report);
        let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
        let rows: Vec<_> = reader.records().map(|row| row.expect("as many fields as the header")).collect();
        assert!(rows.iter().any(|row| &row[0] == "latency" && row.iter().any(|field| field == reason)));
    }

    #[test]
    fn a_report_without_runs_has_no_rows() {
        assert_eq!(csv(&sample::empty()), "");
    }
}
