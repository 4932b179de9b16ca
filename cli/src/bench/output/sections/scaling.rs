//! What a message costs as nodes are added.

use crate::bench::output::numbers;
use crate::bench::output::section::{FAILED, Row, Section};
use crate::bench::report::{Report, Scaled, Scaling, Spread};

/// Speed and costs: in one table they would be wider than a terminal.
pub(super) fn sections(report: &Report) -> [Section; 2] {
    [speed(report), costs(report)]
}

fn speed(report: &Report) -> Section {
    let columns = [
        "nodes",
        "shards",
        "messages/s",
        "spread",
        "nodes'\nthreads busy",
        "messages\na commit",
        "lost",
        "duplicated",
        "gaps",
    ];
    let asked = match report.parameters.rate {
        Some(rate) => format!("{} messages/s for each node", numbers::rate(rate)),
        None => "all that this machine can do, which nodes, group and loads share".to_owned(),
    };
    let title = format!("A cluster as nodes are added: {asked}; medians");
    let mut section = Section::new(title, columns);
    section.rows.extend(report.scaling.iter().map(|scaling| {
        let rates = Spread::of(scaling.runs.iter().map(|scaled| scaled.run.rate()));
        let busy = Spread::of(scaling.runs.iter().flat_map(|scaled| scaled.busy.iter().copied()));
        let sum = |count: fn(&Scaled) -> u64| numbers::count(scaling.runs.iter().map(count).sum());
        Row::new([
            scaling.nodes.to_string(),
            scaling.shards.to_string(),
            numbers::rate(rates.median),
            numbers::spread(rates),
            numbers::percent(busy.median),
            numbers::rate(median(scaling, Scaled::commit_size)),
            sum(|scaled| scaled.run.delivery.lost),
            sum(|scaled| scaled.run.delivery.duplicated),
            sum(|scaled| scaled.run.delivery.gaps),
        ])
        .marked(FAILED, !scaling.runs.iter().all(|scaled| scaled.run.delivery.is_flawless()))
    }));
    section
}

fn costs(report: &Report) -> Section {
    let columns = [
        "nodes",
        "group\nµs CPU",
        "to the\nfewest",
        "its reading\nthread",
        "servers\nµs CPU",
        "to the\nfewest",
        "both",
        "to the\nfewest",
        "loads\nµs CPU",
        "group's\npeak memory",
    ];
    let title = "CPU of a message, of all nodes together, and its ratio to that with the fewest nodes";
    let mut section = Section::new(title, columns);
    let fewest = report.scaling.iter().min_by_key(|scaling| scaling.nodes);
    section.rows.extend(report.scaling.iter().map(|scaling| {
        let cost = |value: fn(&Scaled) -> f64| {
            let cost = median(scaling, value);
            let least = fewest.map_or(f64::NAN, |fewest| median(fewest, value));
            [numbers::micros(cost), numbers::times(cost / least)]
        };
        let group = cost(|scaled| scaled.run.group_cpu_us);
        let servers = cost(|scaled| scaled.run.server_cpu_us);
        let both = cost(|scaled| scaled.run.group_cpu_us + scaled.run.server_cpu_us);
        let thread = median(scaling, |scaled| scaled.thread_cpu_us.unwrap_or(f64::NAN));
        let load = median(scaling, |scaled| scaled.run.load_cpu_us);
        let memory = scaling.runs.iter().filter_map(|scaled| scaled.run.peak_memory).max();
        let nodes = scaling.nodes.to_string();
        let [group, group_ratio] = group;
        let [servers, servers_ratio] = servers;
        let [both, both_ratio] = both;
        Row::new([
            nodes,
            group,
            group_ratio,
            numbers::micros(thread),
            servers,
            servers_ratio,
            both,
            both_ratio,
            numbers::micros(load),
            numbers::memory(memory),
        ])
    }));
    section
}

fn median(scaling: &Scaling, value: fn(&Scaled) -> f64) -> f64 {
    Spread::of(scaling.runs.iter().map(value)).median
}
