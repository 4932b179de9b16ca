//! How fast the group is, how near to what is possible, and what a message costs.

use crate::bench::output::section::{FAILED, Row, Section};
use crate::bench::output::{medians, numbers};
use crate::bench::report::Report;
use crate::bench::source::Source;

/// Speed and costs: in one table they would be wider than a terminal.
pub(super) fn sections(report: &Report) -> [Section; 2] {
    [speed(report), costs(report)]
}

fn speed(report: &Report) -> Section {
    let with_work = !report.work_limit.is_empty();
    let with_engine = report.parameters.source == Source::Pubsub;
    let (title, floor) = match report.parameters.source {
        Source::Pubsub | Source::Sharded => {
            ("Throughput: median, and spread from least to most", "of\nserver's\nlimit")
        }
        Source::Stream => (
            "Throughput of a backlog, from its first read: median, and spread from least to most",
            "of\nbare\nmove",
        ),
    };
    let mut columns = vec!["consumers", "messages/s", "spread", floor];
    if with_work {
        columns.push("of\nwork's\nlimit");
    }
    if with_engine {
        columns.push("engine\nalone");
    }
    columns.extend(["lost", "duplicated"]);

    let mut section = Section::new(title, columns);
    let floor = medians::floor_rate(report);
    section.rows.extend(report.throughput.iter().map(|throughput| {
        let rates = medians::rates(throughput);
        let mut cells = vec![
            throughput.consumers.to_string(),
            numbers::rate(rates.median),
            numbers::spread(rates),
            numbers::percent(rates.median / floor),
        ];
        if with_work {
            cells.push(numbers::percent(rates.median / medians::work_rate(report, throughput.consumers)));
        }
        let lost = throughput.runs.iter().map(|run| run.delivery.lost).sum();
        let duplicated = throughput.runs.iter().map(|run| run.delivery.duplicated).sum();
        if with_engine {
            cells.push(numbers::rate(medians::engine_rate(report, throughput.consumers)));
        }
        cells.extend([lost, duplicated].map(numbers::count));
        Row::new(cells).marked(FAILED, !throughput.runs.iter().all(|run| run.delivery.is_flawless()))
    }));
    section
}

fn costs(report: &Report) -> Section {
    let columns = [
        "consumers",
        "group\nµs CPU",
        "group\nto bare",
        "server\nµs CPU",
        "server\nto bare",
        "server's\nthread busy",
        "group's\npeak memory",
    ];
    let title = match report.parameters.source {
        Source::Pubsub | Source::Sharded => {
            "CPU of a message, and its ratio to the bare server's (PUBLISH and XADD alone)"
        }
        Source::Stream => "CPU of a message, and its ratio to the server's in the bare move",
    };
    let mut section = Section::new(title, columns);
    let bare = medians::floor_cpu(report);
    section.rows.extend(report.throughput.iter().map(|throughput| {
        let group = medians::median(&throughput.runs, |run| run.group_cpu_us);
        let server = medians::median(&throughput.runs, |run| run.server_cpu_us);
        Row::new([
            throughput.consumers.to_string(),
            numbers::micros(group),
            numbers::times(group / bare),
            numbers::micros(server),
            numbers::times(server / bare),
            numbers::percent(medians::median(&throughput.runs, |run| run.busy)),
            numbers::memory(throughput.runs.iter().filter_map(|run| run.peak_memory).max()),
        ])
    }));
    section
}
