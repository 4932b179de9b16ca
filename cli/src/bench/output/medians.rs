//! What several runs say together. NaN where nothing was measured.

use crate::bench::report::{Bare, Report, Run, ServerLimit, Spread, Throughput};
use crate::bench::source::Source;

/// Messages a second that the server can do without a group.
pub(crate) fn server_rates(report: &Report) -> Spread {
    Spread::of(report.server_limit.iter().map(ServerLimit::rate))
}

/// Messages a second that are moved from stream to stream without a group.
pub(crate) fn bare_rates(report: &Report) -> Spread {
    Spread::of(report.bare.iter().map(Bare::rate))
}

/// What the group is measured by.
pub(crate) fn floor_name(report: &Report) -> &'static str {
    match report.parameters.source {
        Source::Pubsub | Source::Sharded => "server's limit",
        Source::Stream => "bare move",
    }
}

/// Messages a second without a group: what the group is measured by.
pub(crate) fn floor_rate(report: &Report) -> f64 {
    match report.parameters.source {
        Source::Pubsub | Source::Sharded => server_rates(report).median,
        Source::Stream => bare_rates(report).median,
    }
}

/// The server's CPU without a group, in µs a message: for PUBLISH and XADD alone, or for moving alone.
pub(crate) fn floor_cpu(report: &Report) -> f64 {
    match report.parameters.source {
        Source::Pubsub | Source::Sharded => {
            Spread::of(report.server_limit.iter().map(ServerLimit::cpu_us)).median
        }
        Source::Stream => Spread::of(report.bare.iter().map(|bare| bare.server_cpu_us)).median,
    }
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
