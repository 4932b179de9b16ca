//! One row a run, for a spreadsheet or a program. What a kind of run does not have is empty.

use serde::Serialize;

use crate::bench::report::{
    Bare, Delivery, Idle, Latency, Outcome, Report, Run, Scaled, Scaling, Spill, Stuck,
};

/// The rows of all runs, under one header.
pub(crate) fn csv(report: &Report) -> String {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for row in rows(report) {
        writer.serialize(row).unwrap_or_else(|_| unreachable!("flat rows into memory"));
    }
    let bytes = writer.into_inner().unwrap_or_else(|_| unreachable!("into memory"));
    String::from_utf8(bytes).unwrap_or_else(|_| unreachable!("made of text"))
}

/// CPU is in µs a message, of a cluster that of all nodes; `server_busy` is from 0 to 1, `group_busy` counts cores; `run` counts from 1 within its kind and its number of
/// consumers.
#[derive(Debug, Default, Serialize)]
struct Row<'a> {
    kind: &'static str,
    run: usize,
    nodes: Option<usize>,
    shards: Option<usize>,
    consumers: Option<usize>,
    /// As asked for.
    rate: Option<f64>,
    messages: Option<u64>,
    seconds: Option<f64>,
    publish_seconds: Option<f64>,
    xadd_seconds: Option<f64>,
    messages_per_second: Option<f64>,
    group_cpu_us: Option<f64>,
    thread_cpu_us: Option<f64>,
    server_cpu_us: Option<f64>,
    load_cpu_us: Option<f64>,
    mover_cpu_us: Option<f64>,
    publish_cpu_us: Option<f64>,
    xadd_cpu_us: Option<f64>,
    server_busy: Option<f64>,
    group_busy: Option<f64>,
    commits: Option<u64>,
    buffer_bytes: Option<u64>,
    peak_memory_bytes: Option<u64>,
    received: Option<u64>,
    processed: Option<u64>,
    rejected: Option<u64>,
    dropped: Option<u64>,
    abandoned: Option<u64>,
    gaps: Option<u64>,
    lost: Option<u64>,
    duplicated: Option<u64>,
    pending: Option<u64>,
    spilled: Option<u64>,
    drained: Option<u64>,
    most_in_spill: Option<u64>,
    p50_us: Option<f64>,
    p90_us: Option<f64>,
    p99_us: Option<f64>,
    p999_us: Option<f64>,
    max_us: Option<f64>,
    late_p99_us: Option<f64>,
    /// Why the rate was not reached.
    missed: Option<&'a str>,
}

fn rows(report: &Report) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    rows.extend(report.server_limit.iter().zip(1..).map(|(limit, run)| Row {
        kind: "server_limit",
        run,
        messages: Some(limit.messages),
        seconds: Some(limit.publish_seconds + limit.xadd_seconds),
        publish_seconds: Some(limit.publish_seconds),
        xadd_seconds: Some(limit.xadd_seconds),
        messages_per_second: Some(limit.rate()),
        server_cpu_us: Some(limit.cpu_us()),
        publish_cpu_us: Some(limit.publish_cpu_us),
        xadd_cpu_us: Some(limit.xadd_cpu_us),
        server_busy: Some(limit.busy),
        ..Row::default()
    }));
    rows.extend(report.bare.iter().zip(1..).map(|(bare, run)| of_bare(run, bare)));
    for limit in &report.engine_limit {
        rows.extend(limit.seconds.iter().zip(1..).map(|(seconds, run)| Row {
            kind: "engine_limit",
            run,
            consumers: Some(limit.consumers),
            messages: Some(limit.messages),
            seconds: Some(*seconds),
            messages_per_second: Some(limit.messages as f64 / seconds),
            ..Row::default()
        }));
    }
    rows.extend(report.work_limit.iter().map(|limit| Row {
        kind: "work_limit",
        run: 1,
        consumers: Some(limit.consumers),
        messages_per_second: Some(limit.rate),
        ..Row::default()
    }));
    for throughput in &report.throughput {
        rows.extend(throughput.runs.iter().zip(1..).map(|(run, number)| of_run("throughput", number, run)));
    }
    for scaling in &report.scaling {
        rows.extend(
            scaling
                .runs
                .iter()
                .zip(1..)
                .map(|(run, number)| Row { rate: report.parameters.rate, ..of_scaled(number, scaling, run) }),
        );
    }
    rows.extend(report.burst.iter().zip(1..).map(|(run, number)| of_run("burst", number, run)));
    rows.extend(report.latency.iter().map(of_latency));
    rows.extend(report.idle.iter().zip(1..).map(|(idle, run)| of_idle(run, idle)));
    rows.extend(report.spill.iter().zip(1..).map(|(spill, run)| of_spill(run, spill)));
    rows.extend(report.stuck.iter().zip(1..).map(|(stuck, run)| of_stuck(run, stuck)));
    rows
}

fn of_bare<'a>(run: usize, bare: &Bare) -> Row<'a> {
    Row {
        kind: "bare",
        run,
        messages: Some(bare.messages),
        seconds: Some(bare.seconds),
        messages_per_second: Some(bare.rate()),
        server_cpu_us: Some(bare.server_cpu_us),
        mover_cpu_us: Some(bare.mover_cpu_us),
        server_busy: Some(bare.busy),
        ..Row::default()
    }
}

fn of_run<'a>(kind: &'static str, number: usize, run: &Run) -> Row<'a> {
    Row {
        kind,
        run: number,
        consumers: Some(run.consumers),
        messages: Some(run.published),
        seconds: Some(run.seconds),
        publish_seconds: Some(run.publish_seconds),
        messages_per_second: Some(run.rate()),
        group_cpu_us: Some(run.group_cpu_us),
        server_cpu_us: Some(run.server_cpu_us),
        load_cpu_us: Some(run.load_cpu_us),
        server_busy: Some(run.busy),
        peak_memory_bytes: run.peak_memory,
        ..of_fate(&run.delivery)
    }
}

fn of_scaled<'a>(number: usize, scaling: &Scaling, scaled: &Scaled) -> Row<'a> {
    Row {
        nodes: Some(scaling.nodes),
        shards: Some(scaling.shards),
        thread_cpu_us: scaled.thread_cpu_us,
        commits: Some(scaled.commits),
        ..of_run("scaling", number, &scaled.run)
    }
}

fn of_latency(latency: &Latency) -> Row<'_> {
    let row = Row {
        kind: "latency",
        run: 1,
        consumers: Some(latency.consumers),
        rate: Some(latency.rate),
        messages: Some(latency.messages),
        ..of_fate(&latency.delivery)
    };
    match &latency.outcome {
        Outcome::Reached { latency: times, late } => Row {
            p50_us: Some(times.p50),
            p90_us: Some(times.p90),
            p99_us: Some(times.p99),
            p999_us: Some(times.p999),
            max_us: Some(times.max),
            late_p99_us: Some(late.p99),
            ..row
        },
        Outcome::Missed { rate, reason } => {
            Row { messages_per_second: Some(*rate), missed: Some(reason), ..row }
        }
    }
}

fn of_idle<'a>(run: usize, idle: &Idle) -> Row<'a> {
    Row {
        kind: "idle",
        run,
        consumers: Some(idle.consumers),
        seconds: Some(idle.seconds),
        group_busy: Some(idle.busy()),
        peak_memory_bytes: idle.peak_memory,
        ..Row::default()
    }
}

/// None of its messages is in the stream, so that none is lost for that.
fn of_stuck<'a>(run: usize, stuck: &Stuck) -> Row<'a> {
    Row {
        kind: "stuck",
        run,
        consumers: Some(stuck.consumers),
        messages: Some(stuck.published),
        publish_seconds: Some(stuck.publish_seconds),
        buffer_bytes: Some(stuck.buffer),
        peak_memory_bytes: stuck.peak_memory,
        received: Some(stuck.received),
        processed: Some(stuck.processed),
        rejected: Some(stuck.rejected),
        dropped: Some(stuck.dropped),
        abandoned: Some(stuck.abandoned),
        gaps: Some(stuck.gaps),
        ..Row::default()
    }
}

fn of_spill<'a>(run: usize, spill: &Spill) -> Row<'a> {
    Row {
        buffer_bytes: Some(spill.buffer),
        spilled: Some(spill.spilled),
        drained: Some(spill.drained),
        most_in_spill: Some(spill.most),
        ..of_run("spill", run, &spill.run)
    }
}

fn of_fate<'a>(delivery: &Delivery) -> Row<'a> {
    Row {
        received: Some(delivery.received),
        processed: Some(delivery.processed),
        rejected: Some(delivery.rejected),
        dropped: Some(delivery.dropped),
        abandoned: Some(delivery.abandoned),
        gaps: Some(delivery.gaps),
        lost: Some(delivery.lost),
        duplicated: Some(delivery.duplicated),
        pending: Some(delivery.pending),
        ..Row::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::output::sample;

    #[test]
    fn the_rows_are_as_reviewed() {
        let report = Report { work_limit: sample::with_work().work_limit, ..sample::report() };
        insta::assert_snapshot!(csv(&report));
    }

    #[test]
    fn each_run_is_a_row() {
        let report = sample::report();
        let csv = csv(&report);
        let rows = |kind: &str| csv.lines().filter(|line| line.starts_with(&format!("{kind},"))).count();
        assert_eq!(rows("server_limit"), report.server_limit.len());
        let engine_runs: usize = report.engine_limit.iter().map(|limit| limit.seconds.len()).sum();
        assert_eq!(rows("engine_limit"), engine_runs);
        let runs: usize = report.throughput.iter().map(|throughput| throughput.runs.len()).sum();
        assert_eq!(rows("throughput"), runs);
        assert_eq!(rows("burst"), report.burst.len());
        assert_eq!(rows("latency"), report.latency.len());
        assert_eq!(rows("idle"), report.idle.len());
        assert_eq!(rows("stuck"), report.stuck.len());
        let stream = sample::of_a_stream();
        let csv = super::csv(&stream);
        let rows = |kind: &str| csv.lines().filter(|line| line.starts_with(&format!("{kind},"))).count();
        assert_eq!((rows("bare"), rows("spill")), (stream.bare.len(), stream.spill.len()));
        let cluster = sample::of_a_cluster();
        let csv = super::csv(&cluster);
        let rows = csv.lines().filter(|line| line.starts_with("scaling,")).count();
        assert_eq!(rows, cluster.scaled().count());
    }

    #[test]
    fn a_reason_with_commas_and_quotes_stays_one_field() {
        let mut report = sample::report();
        let reason = "slow, \"very\"\nslow";
        report.latency[0].outcome = Outcome::Missed { rate: 1.0, reason: reason.to_owned() };
        let csv = csv(&report);
        let mut reader = ::csv::Reader::from_reader(csv.as_bytes());
        let rows: Vec<_> = reader.records().map(|row| row.expect("as many fields as the header")).collect();
        assert!(rows.iter().any(|row| &row[0] == "latency" && row.iter().next_back() == Some(reason)));
    }

    #[test]
    fn a_report_without_runs_has_no_rows() {
        assert_eq!(csv(&sample::empty()), "");
    }
}
