//! What happens to all messages at once where the buffer does not hold them.

use super::burst;
use crate::bench::output::numbers;
use crate::bench::output::section::{FAILED, Row, Section};
use crate::bench::report::Report;

/// The runs, and what was in the spill: in one table they would be wider than a terminal.
pub(super) fn sections(report: &Report) -> [Section; 2] {
    let title = "Burst with a spill: all messages at once, until all that was spilled is in the output";
    let mut runs = Section::new(title, burst::COLUMNS);
    runs.rows.extend(report.spill.iter().map(|spill| burst::row(&spill.run)));
    [runs, spilled(report)]
}

fn spilled(report: &Report) -> Section {
    let columns = ["consumers", "buffer", "spilled", "most\nat once", "drained", "left"];
    let mut section = Section::new("The spill: what found the buffer full, and was read back", columns);
    section.rows.extend(report.spill.iter().map(|spill| {
        Row::new([
            spill.run.consumers.to_string(),
            numbers::memory(Some(spill.buffer)),
            numbers::count(spill.spilled),
            numbers::count(spill.most),
            numbers::count(spill.drained),
            numbers::count(spill.run.delivery.pending),
        ])
        .marked(FAILED, !spill.is_flawless())
    }));
    section
}
