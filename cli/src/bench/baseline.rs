//! A bench against an earlier one: whether the group became slower.

use std::fmt;

use super::output::section::{Row, Section};
use super::output::table::text;
use super::output::{medians, numbers};
use super::report::{Latency, Outcome, Report};
use crate::printable::printable;

/// Stands behind a throughput that fell by more than was tolerated.
const FELL: &str = "FELL";

/// What became of the throughput, and for information of latency and burst.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    /// 0.10 is 10 %.
    tolerance: f64,
    /// What both are measured by.
    floor: &'static str,
    /// What differs, but for the program: such numbers compare badly.
    differences: Vec<String>,
    /// For each number of consumers that both have measured.
    throughput: Vec<Pair>,
    latency: Section,
    burst: Section,
}

/// The throughput of one number of consumers.
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
    /// Of the server's limit on the same machine, at the same time. NaN if that is not known.
    share: f64,
}

/// Compares the medians of the throughput. More than `tolerance` slower (0.10: 10 %) has fallen.
pub(crate) fn compare(earlier: &Report, now: &Report, tolerance: f64) -> Comparison {
    let speeds = |report: &Report, consumers: usize| {
        let throughput = report.throughput.iter().find(|throughput| throughput.consumers == consumers)?;
        let rate = medians::rates(throughput).median;
        let share = rate / medians::floor_rate(report);
        // A change against nothing is none.
        (rate.is_finite() && rate > 0.0).then_some(Speed { rate, share })
    };
    // The throughput of one source says nothing about that of another.
    let is_alike = earlier.parameters.source == now.parameters.source;
    let throughput = now.throughput.iter().filter(|_| is_alike).filter_map(|throughput| {
        let consumers = throughput.consumers;
        Some(Pair { consumers, earlier: speeds(earlier, consumers)?, now: speeds(now, consumers)? })
    });
    Comparison {
        tolerance,
        floor: medians::floor_name(now),
        differences: differences(earlier, now),
        throughput: throughput.collect(),
        latency: latency(earlier, now),
        burst: burst(earlier, now),
    }
}

impl Comparison {
    /// Whether a throughput fell by more than the tolerance. Not if nothing could be compared.
    pub(crate) fn fell(&self) -> bool {
        self.throughput.iter().any(|pair| pair.fell(self.tolerance))
    }

    /// Whether there was anything to compare.
    pub(crate) fn compared(&self) -> bool {
        !self.throughput.is_empty()
    }

    fn section(&self) -> Section {
        let columns = [
            "consumers",
            "earlier\nmessages/s",
            "now\nmessages/s",
            "change",
            "earlier,\nshare",
            "now,\nshare",
        ];
        let title = format!("Throughput against the baseline: medians, and the share of the {}", self.floor);
        let mut section = Section::new(title, columns);
        section.rows.extend(self.throughput.iter().map(|pair| {
            Row::new([
                pair.consumers.to_string(),
                numbers::rate(pair.earlier.rate),
                numbers::rate(pair.now.rate),
                numbers::change(pair.change()),
                numbers::percent(pair.earlier.share),
                numbers::percent(pair.now.share),
            ])
            .marked(FELL, pair.fell(self.tolerance))
        }));
        section
    }

    fn verdict(&self) -> String {
        if self.throughput.is_empty() {
            return "Nothing was compared: no number of consumers has a throughput of this source in both. \
                    Measure one of the baseline's."
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
        let mut parts = Vec::new();
        if !self.differences.is_empty() {
            let differences = self.differences.join("\n  ");
            parts.push(format!(
                "These compare badly, because more than the program differs:\n  {differences}\nThe share of the {} says \
                 more than the rate.",
                self.floor
            ));
        }
        let sections = [&self.section(), &self.latency, &self.burst];
        parts.extend(sections.into_iter().filter(|section| !section.rows.is_empty()).map(text));
        parts.push(self.verdict());
        f.write_str(&parts.join("\n\n"))
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

/// Machine, server and parameters, where they are not the same.
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

/// For each rate that both reached.
fn latency(earlier: &Report, now: &Report) -> Section {
    let columns = ["messages/s", "p50\nearlier", "p50\nnow", "p99\nearlier", "p99\nnow"];
    let mut section = Section::new("Latency, for information", columns);
    for latency in &now.latency {
        let before = earlier.latency.iter().find(|before| before.rate == latency.rate);
        if let Some((then, now)) = before.and_then(reached).zip(reached(latency)) {
            let times = [then.0, now.0, then.1, now.1].map(numbers::time);
            section.rows.push(Row::new([vec![numbers::rate(latency.rate)], times.to_vec()].concat()));
        }
    }
    section
}

/// p50 and p99, in µs.
fn reached(latency: &Latency) -> Option<(f64, f64)> {
    match &latency.outcome {
        Outcome::Reached { latency, .. } => Some((latency.p50, latency.p99)),
        Outcome::Missed { .. } => None,
    }
}

fn burst(earlier: &Report, now: &Report) -> Section {
    let columns = ["", "time", "peak memory", "lost", "duplicated"];
    let mut section = Section::new("Burst, for information: medians", columns);
    if earlier.burst.is_empty() || now.burst.is_empty() {
        return section;
    }
    section.rows.extend([("earlier", &earlier.burst), ("now", &now.burst)].map(|(name, runs)| {
        let deliveries = || runs.iter().map(|run| &run.delivery);
        Row::new([
            name.to_owned(),
            numbers::seconds(medians::median(runs, |run| run.seconds)),
            numbers::memory(runs.iter().filter_map(|run| run.peak_memory).max()),
            numbers::count(deliveries().map(|delivery| delivery.lost).sum()),
            numbers::count(deliveries().map(|delivery| delivery.duplicated).sum()),
        ])
    }));
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    /// The sample with throughputs that are `factor` times as high.
    fn faster(factor: f64) -> Report {
        let mut report = sample::report();
        for run in report.throughput.iter_mut().flat_map(|throughput| &mut throughput.runs) {
            run.seconds /= factor;
        }
        report
    }

    #[test]
    fn a_throughput_that_falls_by_more_than_tolerated_has_fallen() {
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
        for run in &mut now.throughput[3].runs {
            run.seconds *= 1.3;
        }
        now.machine.cores = 8;
        now.server.version = "Valkey 9.1.2".to_owned();
        now.parameters.payload_bytes = 1024;
        now.parameters.work_us = Some(50);
        insta::assert_snapshot!(compare(&sample::report(), &now, 0.10));
    }

    #[test]
    fn only_what_both_have_measured_is_compared() {
        let mut now = faster(0.5);
        now.throughput.retain(|throughput| throughput.consumers == 4);
        let text = compare(&sample::report(), &now, 0.10).to_string();
        assert!(text.contains("1 of 1 fell by more than 10 %"), "{text}");
    }

    #[test]
    fn a_throughput_of_another_source_is_not_compared() {
        let stream = sample::of_a_stream();
        let comparison = compare(&sample::report(), &stream, 0.10);
        assert!(
            !comparison.compared() && comparison.to_string().contains("source: pubsub earlier, stream now")
        );
        let text = compare(&stream, &stream, 0.10).to_string();
        assert!(text.contains("the share of the bare move") && text.contains("No throughput fell"), "{text}");
    }

    #[test]
    fn nothing_in_common_is_said_and_has_not_fallen() {
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
