//! How long a message takes, at each rate.

use crate::bench::output::numbers;
use crate::bench::output::section::{FAILED, Row, Section};
use crate::bench::report::{Latency, Outcome, Report};
use crate::printable::printable;

pub(super) fn section(report: &Report) -> Section {
    let columns = ["messages/s", "p50", "p90", "p99", "p99.9", "max", "load late\np99", "lost", "duplicated"];
    let consumers = match report.parameters.latency_consumers {
        1 => "1 consumer".to_owned(),
        consumers => format!("{consumers} consumers"),
    };
    let title =
        format!("Latency with {consumers}: from the moment a message was due to its entry's confirmation");
    let mut section = Section::new(title, columns);
    section.rows.extend(report.latency.iter().map(row));
    section.notes.extend(report.latency.iter().filter_map(missed));
    section
}

fn row(latency: &Latency) -> Row {
    let mut cells = vec![numbers::rate(latency.rate)];
    match &latency.outcome {
        Outcome::Reached { latency, late } => {
            let times = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max, late.p99];
            cells.extend(times.map(numbers::time));
        }
        Outcome::Missed { .. } => {
            cells.push("missed".to_owned());
            cells.extend([const { numbers::NOTHING }; 5].map(str::to_owned));
        }
    }
    cells.extend([latency.delivery.lost, latency.delivery.duplicated].map(numbers::count));
    Row::new(cells).marked(FAILED, !latency.delivery.is_flawless())
}

/// Why there are no numbers.
fn missed(latency: &Latency) -> Option<String> {
    match &latency.outcome {
        Outcome::Reached { .. } => None,
        Outcome::Missed { rate, reason } => Some(format!(
            "{} messages/s were missed, {} reached: {}",
            numbers::rate(latency.rate),
            numbers::rate(*rate),
            printable(reason)
        )),
    }
}
