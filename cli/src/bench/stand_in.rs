//! STAND-INS for `output` and `baseline`, to be replaced by them.
#![allow(clippy::unnecessary_wraps, reason = "the signatures are those of what replaces it")]

use std::fmt;

use super::report::Report;

pub(super) fn table(report: &Report) -> String {
    let cpu: Vec<_> = report.server_limit.iter().map(super::report::ServerLimit::cpu_us).collect();
    format!("{}\n{cpu:?}", json(report))
}

pub(super) fn markdown(report: &Report) -> String {
    json(report)
}

pub(super) fn csv(report: &Report) -> String {
    json(report)
}

pub(super) fn json(report: &Report) -> String {
    serde_json::to_string_pretty(report).unwrap_or_default()
}

pub(super) fn plot(_: &Report) -> anyhow::Result<String> {
    Ok("<svg xmlns=\"http://www.w3.org/2000/svg\"/>\n".to_owned())
}

pub(super) struct Comparison(bool);

pub(super) fn compare(earlier: &Report, now: &Report, tolerance: f64) -> Comparison {
    let best = |report: &Report| {
        report.throughput.iter().flat_map(|t| &t.runs).map(super::report::Run::rate).fold(0.0, f64::max)
    };
    Comparison(best(now) < best(earlier) * (1.0 - tolerance))
}

impl Comparison {
    pub(super) fn fell(&self) -> bool {
        self.0
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "throughput fell" } else { "throughput did not fall" })
    }
}
