//! The parts of a report that people read: the same ones for the terminal and in Markdown.

mod bare;
mod burst;
mod idle;
mod latency;
mod scaling;
mod server_limit;
mod spill;
mod stuck;
mod throughput;

use super::numbers;
use super::section::{FAILED, Section};
use crate::bench::report::{Parameters, Report, Stuck};
use crate::bench::source::Source;
use crate::printable::printable;

/// All parts that have something to say.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let mut sections = vec![server_limit::section(report), bare::section(report)];
    sections.extend(throughput::sections(report));
    sections.extend(scaling::sections(report));
    sections.push(latency::section(report));
    sections.push(burst::section(report));
    sections.extend(spill::sections(report));
    sections.push(idle::section(report));
    sections.push(stuck::section(report));
    sections.retain(|section| !section.rows.is_empty());
    sections
}

/// What was measured where: the program, the server, the machine.
pub(super) fn heading(report: &Report) -> String {
    format!("redis-consumer-group {} · {} · {}", printable(&report.version), server(report), machine(report))
}

/// The server, and where it is.
pub(super) fn server(report: &Report) -> String {
    let server = &report.server;
    let place =
        if server.private { "(private)".to_owned() } else { format!("at {}", printable(&server.address)) };
    format!("{} {place}", printable(&server.version))
}

/// The processor and its cores.
pub(super) fn machine(report: &Report) -> String {
    let cores = if report.machine.cores == 1 { "core" } else { "cores" };
    format!("{}, {} {cores}", printable(&report.machine.cpu), report.machine.cores)
}

/// What was asked for: `1,000,000 messages of 128 bytes, 5 runs`.
pub(in crate::bench) fn parameters(parameters: &Parameters) -> String {
    let Parameters { source, consumers, messages, payload_bytes, runs, work_us, work_cpu_us, .. } =
        parameters;
    let mut text =
        format!("{} messages of {} bytes", numbers::count(*messages), numbers::count(*payload_bytes as u64));
    if *source == Source::Stream {
        text.push_str(" in a stream");
    }
    if *source == Source::Sharded {
        let consumers = consumers.first().copied().unwrap_or(0);
        text.push_str(&format!(" in shards of {} each", count_of(consumers, "consumer")));
    }
    text.push_str(&if *runs == 1 { ", 1 run".to_owned() } else { format!(", {runs} runs") });
    if let Some(work) = work_us {
        text.push_str(&format!(", each waits {}", numbers::time(*work as f64)));
    }
    if let Some(work) = work_cpu_us {
        text.push_str(&format!(", each computes for {}", numbers::time(*work as f64)));
    }
    text
}

/// `1 consumer`, `3 consumers`.
fn count_of(count: usize, name: &str) -> String {
    if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") }
}

/// What to say under everything if a message was lost or is there twice, or a ledger does not add up.
pub(super) fn verdict(report: &Report) -> Option<String> {
    let runs = report.throughput.iter().flat_map(|throughput| &throughput.runs).chain(&report.burst);
    let runs = runs.chain(report.spill.iter().map(|spill| &spill.run));
    let runs = runs.chain(report.scaled().map(|scaled| &scaled.run));
    let deliveries =
        runs.map(|run| &run.delivery).chain(report.latency.iter().map(|latency| &latency.delivery));
    let (mut lost, mut duplicated, mut pending) = (0, 0, 0);
    for delivery in deliveries {
        lost += delivery.lost;
        duplicated += delivery.duplicated;
        pending += delivery.pending;
    }
    let mut failures = Vec::new();
    if lost + duplicated > 0 {
        failures.push(format!("{} lost, {} duplicated", numbers::count(lost), numbers::count(duplicated)));
    }
    if pending > 0 {
        failures.push(format!("{} not done", numbers::count(pending)));
    }
    if report.spill.iter().any(|spill| spill.spilled != spill.drained) {
        failures.push("what was spilled was not all read back".to_owned());
    }
    if !report.stuck.iter().all(Stuck::adds_up) {
        failures.push("a ledger does not add up".to_owned());
    }
    (!failures.is_empty()).then(|| format!("{FAILED}: {}.", failures.join("; ")))
}
