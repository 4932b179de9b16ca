//! What happens to all messages at once.

use crate::bench::output::numbers;
use crate::bench::output::section::{FAILED, Row, Section};
use crate::bench::report::{Report, Run};

pub(super) const COLUMNS: [&str; 9] = [
    "consumers",
    "published",
    "received",
    "processed",
    "lost",
    "duplicated",
    "dropped",
    "peak\nmemory",
    "time",
];

pub(super) fn section(report: &Report) -> Section {
    let mut section = Section::new("Burst: all messages at once, at the server's own limits", COLUMNS);
    section.rows.extend(report.burst.iter().map(row));
    section
}

pub(super) fn row(run: &Run) -> Row {
    Row::new([
        run.consumers.to_string(),
        numbers::count(run.published),
        numbers::count(run.delivery.received),
        numbers::count(run.delivery.processed),
        numbers::count(run.delivery.lost),
        numbers::count(run.delivery.duplicated),
        numbers::count(run.delivery.dropped),
        numbers::memory(run.peak_memory),
        numbers::seconds(run.seconds),
    ])
    .marked(FAILED, !run.delivery.is_flawless())
}
