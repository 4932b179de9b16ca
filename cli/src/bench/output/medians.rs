//! What several runs say together. NaN where nothing was measured.

use crate::bench::report::{Report, Run, ServerLimit, Spread, Throughput};

/// Messages a second that the server can do without a group.
pub(crate) fn server_rates(report: &Report) -> Spread {
    Spread::of(report.server_limit.iter().map(ServerLimit::rate))
}

/// The server's CPU for PUBLISH and XADD alone, in µs a message.
pub(crate) fn bare_cpu(report: &Report) -> f64 {
    Spread::of(report.server_limit.iter().map(ServerLimit::cpu_us)).median
}

/// Messages a second of the engine without a server.
pub(crate) fn engine_rate(report: &Report, consumers: usize) -> f64 {
    let limit = report.engine_limit.iter().find(|limit| limit.consumers == consumers);
    limit.map_or(f64::NAN, |limit| {
        Spread::of(limit.seconds.iter().map(|seconds| limit.messages as f64 / seconds)).median
    })
}

/// Messages a second that the work allows without a group.
pub(crate) fn work_rate(report: &Report, consumers: usize) -> f64 {
    let limit = report.work_limit.iter().find(|limit| limit.consumers == consumers);
    limit.map_or(f64::NAN, |limit| limit.rate)
}

/// Messages a second of the group.
pub(crate) fn rates(throughput: &Throughput) -> Spread {
    Spread::of(throughput.runs.iter().map(Run::rate))
}

/// The median of something else of these runs.
pub(crate) fn median(runs: &[Run], value: fn(&Run) -> f64) -> f64 {
    Spread::of(runs.iter().map(value)).median
}
