//! What the server can do without a group: nothing can be faster.

use crate::bench::output::section::{Row, Section};
use crate::bench::output::{medians, numbers};
use crate::bench::report::{Report, ServerLimit, Spread};

pub(super) fn section(report: &Report) -> Section {
    let columns =
        ["messages/s", "spread", "PUBLISH\nµs CPU", "XADD\nµs CPU", "both\nµs CPU", "server's\nthread busy"];
    let mut section = Section::new("The server's limit: PUBLISH, then XADD, without a group", columns);
    let runs = &report.server_limit;
    if runs.is_empty() {
        return section;
    }
    let median = |value: fn(&ServerLimit) -> f64| Spread::of(runs.iter().map(value)).median;
    let rates = medians::server_rates(report);
    section.rows.push(Row::new([
        numbers::rate(rates.median),
        numbers::spread(rates),
        numbers::micros(median(|run| run.publish_cpu_us)),
        numbers::micros(median(|run| run.xadd_cpu_us)),
        numbers::micros(median(ServerLimit::cpu_us)),
        numbers::percent(median(|run| run.busy)),
    ]));
    section
}
