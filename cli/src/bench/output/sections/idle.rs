//! What a group costs that has nothing to do.

use crate::bench::output::numbers;
use crate::bench::output::section::{Row, Section};
use crate::bench::report::Report;

pub(super) fn section(report: &Report) -> Section {
    let columns = ["consumers", "time", "CPU of\na core", "group's\npeak memory"];
    let mut section = Section::new("Idle: a group with nothing to do, after its start has settled", columns);
    section.rows.extend(report.idle.iter().map(|idle| {
        Row::new([
            numbers::count(idle.consumers as u64),
            numbers::seconds(idle.seconds),
            numbers::fine_percent(idle.busy()),
            numbers::memory(idle.peak_memory),
        ])
    }));
    section
}
