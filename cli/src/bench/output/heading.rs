//! The lines above and below the tables of a report.

use super::numbers;
use super::section::FAILED;
use crate::bench::report::{Parameters, Report, Stuck};
use crate::bench::source::Source;
use crate::printable::printable;

/// The program, the server and the machine.
pub(super) fn heading(report: &Report) -> String {
    let server = &report.server;
    let place =
        if server.private { "(private)".to_owned() } else { format!("at {}", printable(&server.address)) };
    format!(
        "redis-consumer-group {} · {} {place} · {}",
        printable(&report.version),
        printable(&server.version),
        machine(report)
    )
}

/// The processor and its cores.
pub(super) fn machine(report: &Report) -> String {
    let cores = numbers::counted(report.machine.cores as u64, "core");
    format!("{}, {cores}", printable(&report.machine.cpu))
}

/// `1,000,000 messages of 128 bytes, 5 runs`.
pub(super) fn parameters(parameters: &Parameters) -> String {
    let Parameters { source, consumers, messages, payload_bytes, runs, work_us, work_cpu_us, .. } =
        parameters;
    let bytes = numbers::count(*payload_bytes as u64);
    let mut text = format!("{} of {bytes} bytes", numbers::counted(*messages, "message"));
    match source {
        Source::Pubsub => {}
        Source::Stream => text.push_str(" in a stream"),
        Source::Sharded => {
            let consumers = consumers.first().copied().unwrap_or(0) as u64;
            text.push_str(&format!(" in shards of {} each", numbers::counted(consumers, "consumer")));
        }
    }
    text.push_str(&format!(", {}", numbers::counted(*runs as u64, "run")));
    if let Some(work) = work_us {
        text.push_str(&format!(", each waits {}", numbers::time(*work as f64)));
    }
    if let Some(work) = work_cpu_us {
        text.push_str(&format!(", each computes for {}", numbers::time(*work as f64)));
    }
    text
}

/// The last line, if a message was lost or duplicated, or a ledger does not add up.
pub(super) fn verdict(report: &Report) -> Option<String> {
    let (mut lost, mut duplicated, mut pending, mut spill_is_left) = (0, 0, 0, false);
    for delivery in report.deliveries() {
        lost += delivery.lost;
        duplicated += delivery.duplicated;
        pending += delivery.pending;
        spill_is_left |= delivery.ledger.spilled != delivery.ledger.read_back;
    }
    let mut failures = Vec::new();
    if lost + duplicated > 0 {
        failures.push(format!("{} lost, {} duplicated", numbers::count(lost), numbers::count(duplicated)));
    }
    if pending > 0 {
        failures.push(format!("{} still pending", numbers::count(pending)));
    }
    if spill_is_left {
        failures.push("not all spilled messages were read back".to_owned());
    }
    if !report.stuck.iter().all(Stuck::adds_up) {
        failures.push("a ledger does not add up".to_owned());
    }
    (!failures.is_empty()).then(|| format!("{FAILED}: {}.", failures.join("; ")))
}
