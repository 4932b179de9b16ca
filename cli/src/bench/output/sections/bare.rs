//! What moving a stream takes without a group.

use crate::bench::output::section::{Row, Section};
use crate::bench::output::{medians, numbers};
use crate::bench::report::{Bare, Report, Spread};

pub(super) fn section(report: &Report) -> Section {
    let columns = ["messages/s", "spread", "server\nµs CPU", "mover\nµs CPU", "server's\nthread busy"];
    let title = "Bare: one connection that reads 256, then adds and acknowledges them in one transaction";
    let mut section = Section::new(title, columns);
    let runs = &report.bare;
    if runs.is_empty() {
        return section;
    }
    let median = |value: fn(&Bare) -> f64| Spread::of(runs.iter().map(value)).median;
    let rates = medians::bare_rates(report);
    section.rows.push(Row::new([
        numbers::rate(rates.median),
        numbers::spread(rates),
        numbers::micros(median(|run| run.server_cpu_us)),
        numbers::micros(median(|run| run.mover_cpu_us)),
        numbers::percent(median(|run| run.busy)),
    ]));
    section
}
