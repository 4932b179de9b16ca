//! Compares a bench with an earlier one: has the group become slower?

use std::fmt;

use super::output::numbers;
use super::output::section::Section;
use super::output::table::text;
use super::report::{Latency, Outcome, Report, Run};
use super::statistics::grouped;
use crate::printable::printable;

/// Marks a throughput that fell by more than the tolerance.
const FELL: &str = "FELL";

/// The change of the throughput, and of the latency for information.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// 0.10 is 10 %.
    tolerance: f64,
    /// The name of [`super::statistics::Floor`].
    floor: &'static str,
    /// What differs besides the program, which makes figures hard to compare.
    differences: Vec<String>,
    throughput: Vec<Pair>,
    latency: Section,
}

/// The throughput with one number of consumers that both reports have.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pair {
    consumers: usize,
    earlier: Speed,
    now: Speed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Speed {
    /// Messages a second, the median of the runs.
    rate: f64,
    /// Share of the floor on the same machine at the same time. NaN if unknown.
    share: f64,
}

/// Compares the medians of the throughput with a tolerance (0.10: 10 %).
pub(crate) fn compare(earlier: &Report, now: &Report, tolerance: f64) -> Comparison {
    // The throughput of different sources cannot be compared.
    let is_alike = earlier.parameters.source == now.parameters.source;
    let before = speeds(earlier);
    let throughput = speeds(now).into_iter().filter(|_| is_alike).filter_map(|(consumers, now)| {
        let (_, earlier) = *before.iter().find(|(other, _)| *other == consumers)?;
        Some(Pair { consumers, earlier, now })
    });
    Comparison {
        tolerance,
        floor: now.floor().name,
        differences: differences(earlier, now),
        throughput: throughput.collect(),
        latency: latency(earlier, now),
    }
}

/// For each number of consumers.
fn speeds(report: &Report) -> Vec<(usize, Speed)> {
    let floor = report.floor().rate;
    let groups = grouped(&report.throughput, |run| run.consumers);
    let speeds = groups.iter().map(|runs| {
        let rate = runs.median(Run::rate);
        (runs.key, Speed { rate, share: rate / floor })
    });
    speeds.filter(|(_, speed)| speed.rate.is_finite() && speed.rate > 0.0).collect()
}

impl Comparison {
    /// Whether a throughput fell by more than the tolerance. `false` if nothing could be compared.
    pub(crate) fn fell(&self) -> bool {
        self.throughput.iter().any(|pair| pair.fell(self.tolerance))
    }

    /// Whether anything could be compared.
    pub(crate) fn compared(&self) -> bool {
        !self.throughput.is_empty()
    }

    fn section(&self) -> Section {
        let title = format!("Throughput against the baseline: medians, and the share of the {}", self.floor);
        Section::of(title, &self.throughput)
            .column("consumers", |pair| pair.consumers.to_string())
            .column("earlier\nmessages/s", |pair| numbers::rate(pair.earlier.rate))
            .column("now\nmessages/s", |pair| numbers::rate(pair.now.rate))
            .column("change", |pair| numbers::change(pair.change()))
            .column("earlier,\nshare", |pair| numbers::percent(pair.earlier.share))
            .column("now,\nshare", |pair| numbers::percent(pair.now.share))
            .mark(FELL, |pair| pair.fell(self.tolerance))
            .finish()
    }

    fn verdict(&self) -> String {
        if self.throughput.is_empty() {
            return "Nothing was compared: the two reports have no source and number of consumers in common. \
                    Measure with the --source and --consumers of the baseline."
                .to_owned();
        }
        let tolerance = numbers::percent(self.tolerance);
        match self.throughput.iter().filter(|pair| pair.fell(self.tolerance)).count() {
            0 => format!("No throughput fell by more than {tolerance}."),
            fallen => {
                format!("{FELL}: {fallen} of {} fell by more than {tolerance}.", self.throughput.len())
            }
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut texts = Vec::new();
        if !self.differences.is_empty() {
            let differences = self.differences.join("\n  ");
            texts.push(format!(
                "The reports are hard to compare, because not only the program differs:\n  {differences}\nCompare the share \
                 of the {}, not the rate.",
                self.floor
            ));
        }
        let sections = [&self.section(), &self.latency];
        texts.extend(sections.into_iter().filter(|section| !section.rows.is_empty()).map(text));
        texts.push(self.verdict());
        f.write_str(&texts.join("\n\n"))
    }
}

impl Pair {
    fn change(&self) -> f64 {
        self.now.rate / self.earlier.rate - 1.0
    }

    fn fell(&self, tolerance: f64) -> bool {
        self.change() < -tolerance
    }
}

/// Machine, server and parameters that are not the same.
fn differences(earlier: &Report, now: &Report) -> Vec<String> {
    let both = |name: &str, value: fn(&Report) -> String| {
        let (earlier, now) = (value(earlier), value(now));
        (earlier != now).then(|| format!("{name}: {} earlier, {} now", printable(&earlier), printable(&now)))
    };
    let texts = [
        both("processor", |report| report.machine.cpu.clone()),
        both("cores", |report| report.machine.cores.to_string()),
        both("system", |report| report.machine.system.clone()),
        both("server", |report| report.server.version.clone()),
        both("source", |report| report.parameters.source.name().to_owned()),
        both("messages", |report| numbers::count(report.parameters.messages)),
        both("payload", |report| format!("{} bytes", numbers::count(report.parameters.payload_bytes as u64))),
        both("waiting in the processor", |report| work(report.parameters.work_us)),
        both("computing in the processor", |report| work(report.parameters.work_cpu_us)),
    ];
    texts.into_iter().flatten().collect()
}

fn work(micros: Option<u64>) -> String {
    micros.map_or_else(|| "none".to_owned(), |micros| numbers::time(micros as f64))
}

/// The rates that both reached.
fn latency(earlier: &Report, now: &Report) -> Section {
    let pairs = now.latency.iter().filter_map(|now| {
        let earlier = earlier.latency.iter().find(|earlier| earlier.rate == now.rate)?;
        Some((now.rate, reached(earlier)?, reached(now)?))
    });
    Section::of("Latency, for information", &pairs.collect::<Vec<_>>())
        .column("messages/s", |(rate, ..)| numbers::rate(*rate))
        .column("p50\nearlier", |(_, earlier, _)| numbers::time(earlier.0))
        .column("p50\nnow", |(.., now)| numbers::time(now.0))
        .column("p99\nearlier", |(_, earlier, _)| numbers::time(earlier.1))
        .column("p99\nnow", |(.., now)| numbers::time(now.1))
        .finish()
}

/// p50 and p99, in µs.
fn reached(latency: &Latency) -> Option<(f64, f64)> {
    match &latency.outcome {
        Outcome::Reached { latency, .. } => Some((latency.p50, latency.p99)),
        Outcome::Missed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    /// The sample with `factor` times its throughput.
    fn faster(factor: f64) -> Report {
        let mut report = sample::report();
        for run in &mut report.throughput {
            run.seconds /= factor;
        }
        report
    }

    #[test]
    fn a_throughput_falls_if_it_is_lower_by_more_than_the_tolerance() {
        let earlier = sample::report();
        for (factor, fell) in [(0.89, true), (0.91, false), (1.0, false), (2.0, false)] {
            let comparison = compare(&earlier, &faster(factor), 0.10);
            assert_eq!(comparison.fell(), fell, "{factor}");
            assert_eq!(comparison.to_string().contains(FELL), fell, "{factor}");
        }
    }

    #[test]
    fn the_comparison_is_as_reviewed() {
        let mut now = faster(1.02);
        for run in now.throughput.iter_mut().filter(|run| run.consumers == 8) {
            run.seconds *= 1.3;
        }
        now.machine.cores = 8;
        now.server.version = "Valkey 9.1.2".to_owned();
        now.parameters.payload_bytes = 1024;
        now.parameters.work_us = Some(50);
        insta::assert_snapshot!(compare(&sample::report(), &now, 0.10));
    }

    #[test]
    fn only_what_both_reports_have_is_compared() {
        let mut now = faster(0.5);
        now.throughput.retain(|run| run.consumers == 4);
        let text = compare(&sample::report(), &now, 0.10).to_string();
        assert!(text.contains("1 of 1 fell by more than 10 %"), "{text}");
    }

    #[test]
    fn throughput_of_different_sources_is_not_compared() {
        let stream = sample::of_a_stream();
        let comparison = compare(&sample::report(), &stream, 0.10);
        assert!(
            !comparison.compared() && comparison.to_string().contains("source: pubsub earlier, stream now")
        );
        let text = compare(&stream, &stream, 0.10).to_string();
        assert!(text.contains("the share of the bare move") && text.contains("No throughput fell"), "{text}");
    }

    #[test]
    fn reports_with_nothing_in_common_have_not_fallen() {
        for (earlier, now) in [
            (sample::empty(), sample::report()),
            (sample::report(), sample::empty()),
            (sample::report(), sample::broken()),
            (sample::broken(), sample::broken()),
        ] {
            let comparison = compare(&earlier, &now, 0.10);
            assert!(!comparison.fell());
            assert!(comparison.to_string().contains("Nothing was compared"), "{comparison}");
        }
    }
}
