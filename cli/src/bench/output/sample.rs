//! Reports for tests of the forms, with plausible figures of a machine with four cores.

use crate::bench::overflow::Overflow;
use crate::bench::report::*;
use crate::bench::source::Source;

/// Everything without work. One run with 16 consumers failed, and the highest rate was not reached.
pub(in crate::bench) fn report() -> Report {
    let mut throughput = throughput(&[(1, 6.58), (2, 4.97), (4, 4.03), (8, 3.81), (16, 3.86)]);
    let delivery = &mut throughput[13].delivery;
    (delivery.lost, delivery.duplicated) = (12, 3);
    (delivery.ledger.processed, delivery.ledger.gaps) = (999_991, 1);
    Report {
        version: "0.1.0".to_owned(),
        began: 1_790_000_000,
        machine: Machine {
            cpu: "AMD EPYC 7B13 64-Core Processor".to_owned(),
            cores: 4,
            system: "linux x86_64".to_owned(),
        },
        server: Server {
            address: "127.0.0.1:40123".to_owned(),
            version: "Redis 7.0.15".to_owned(),
            private: true,
        },
        parameters: Parameters {
            command: "redis-consumer-group bench --messages 1000000 --consumers 1,2,4,8,16".to_owned(),
            source: Source::Pubsub,
            overflow: Overflow::Drop,
            messages: 1_000_000,
            runs: 3,
            consumers: vec![1, 2, 4, 8, 16],
            payload_bytes: 128,
            work_us: None,
            work_cpu_us: None,
            latency_seconds: 10.0,
            latency_consumers: 4,
            buffer: 256 << 20,
            rate: None,
        },
        server_limit: [1.0, 1.04, 0.98].map(server_limit).into(),
        engine_limit: [1, 2, 4, 8, 16].map(engine_limit).concat(),
        throughput,
        latency: vec![
            reached(10_000.0, 92.0),
            reached(50_000.0, 148.0),
            reached(100_000.0, 420.0),
            Latency {
                rate: 400_000.0,
                messages: 1_630_000,
                consumers: 4,
                outcome: Outcome::Missed {
                    rate: 163_000.4,
                    reason: "the load process was too slow".to_owned(),
                },
                delivery: self::delivery(1_630_000),
            },
        ],
        burst: vec![
            Run { peak_memory: Some(231 << 20), ..run(4, 3.4) },
            Run { peak_memory: Some(244 << 20), ..run(4, 3.6) },
        ],
        idle: vec![Idle { consumers: 1000, seconds: 10.0, cpu_seconds: 0.037, peak_memory: Some(14 << 20) }],
        stuck: vec![stuck(), cut_off()],
        ..Report::default()
    }
}

/// A full buffer, and a ledger that adds up.
pub(in crate::bench) fn stuck() -> Stuck {
    let ledger = Counts { received: 10_000_000, dropped: 9_701_234, abandoned: 298_766, ..Counts::default() };
    Stuck {
        consumers: 4,
        messages: 10_000_000,
        publish_seconds: 12.5,
        undelivered: 0,
        ledger,
        cause: None,
        peak_memory: Some(75 << 20),
    }
}

/// The same, but the server closed the connection.
fn cut_off() -> Stuck {
    let cause = Some("the server closed the connection".to_owned());
    let Stuck { ledger, .. } = stuck();
    let ledger = Counts { received: 9_500_000, dropped: 9_201_234, gaps: 1, ..ledger };
    Stuck { undelivered: 400_000, ledger, cause, ..stuck() }
}

/// Only throughput, with 50 µs of work for each message.
pub(in crate::bench) fn with_work() -> Report {
    let mut report = report();
    report.parameters.work_us = Some(50);
    report.parameters.work_cpu_us = Some(1500);
    report.work_limit = [(1, 8_900.0), (2, 17_700.0), (4, 35_300.0), (8, 70_100.0), (16, 139_000.0)]
        .map(|(consumers, rate)| WorkLimit { consumers, rate })
        .into();
    report.throughput = throughput(&[(1, 115.0), (2, 57.9), (4, 29.4), (8, 15.1), (16, 7.9)]);
    report.latency.clear();
    report.burst.clear();
    report.idle.clear();
    report.stuck.clear();
    report
}

/// A backlog of which entries were left pending, and a spill (which no bench measures together).
pub(in crate::bench) fn of_a_stream() -> Report {
    let report = report();
    let mut throughput = throughput(&[(1, 4.4), (4, 3.7)]);
    throughput[5].delivery.pending = 256;
    let spill = |consumers, seconds, spilled, read_back, most_in_spill| {
        let mut run = run(consumers, seconds);
        run.delivery.ledger = Counts { spilled, read_back, most_in_spill, ..run.delivery.ledger };
        run
    };
    Report {
        parameters: Parameters { source: Source::Stream, consumers: vec![1, 4], ..report.parameters.clone() },
        bare: [1.0, 1.04, 0.98].map(bare).into(),
        throughput,
        latency: vec![reached(10_000.0, 310.0)],
        spill: vec![spill(64, 24.1, 911_234, 911_234, 802_500), spill(128, 13.9, 804_001, 804_000, 640_000)],
        ..empty()
    }
}

/// Clusters of one to three nodes, one of which was disconnected once.
pub(in crate::bench) fn of_a_cluster() -> Report {
    let report = report();
    let mut scaling = [1, 2, 3].map(scaling).concat();
    let failed = &mut scaling[5];
    failed.delivery.lost = 7;
    (failed.delivery.ledger.processed, failed.delivery.ledger.gaps) = (999_993, 1);
    failed.thread_cpu_us = None;
    let parameters = Parameters {
        source: Source::Sharded,
        consumers: vec![1],
        rate: Some(50_000.0),
        ..report.parameters.clone()
    };
    Report { parameters, server_limit: report.server_limit, scaling, ..empty() }
}

/// Nothing measured.
pub(in crate::bench) fn empty() -> Report {
    let Report { version, began, machine, server, parameters, .. } = report();
    Report { version, began, machine, server, parameters, ..Report::default() }
}

/// Empty distributions, and the results of divisions by zero.
pub(in crate::bench) fn broken() -> Report {
    let nothing = Distribution {
        p50: f64::NAN,
        p90: 0.0,
        p99: f64::INFINITY,
        p999: -1.0,
        max: f64::NAN,
        classes: Vec::new(),
    };
    let times = |classes: &[(f64, u64)]| Latency {
        rate: f64::NAN,
        messages: 0,
        consumers: 0,
        outcome: Outcome::Reached {
            latency: Distribution { classes: classes.to_vec(), ..nothing.clone() },
            late: nothing.clone(),
        },
        delivery: Delivery::default(),
    };
    let run = Run { messages: 0, seconds: 0.0, busy: f64::NAN, group_cpu_us: f64::NAN, ..run(1, 1.0) };
    Report {
        throughput: vec![run.clone(), Run { seconds: f64::NAN, ..run.clone() }],
        engine_limit: vec![EngineLimit { consumers: 1, messages: 0, seconds: 0.0 }],
        burst: vec![run],
        idle: vec![Idle { consumers: 0, seconds: 0.0, cpu_seconds: 0.0, peak_memory: None }],
        latency: vec![times(&[]), times(&[(f64::NAN, 3), (0.0, 0), (f64::INFINITY, u64::MAX), (1.0, 1)])],
        ..empty()
    }
}

/// In the order of their consumers, unlike those of a bench.
fn throughput(times: &[(usize, f64)]) -> Vec<Run> {
    let runs = |(consumers, seconds): &(usize, f64)| {
        [1.0, 1.05, 0.98].map(|factor| run(*consumers, seconds * factor))
    };
    times.iter().flat_map(runs).collect()
}

fn scaling(nodes: usize) -> Vec<Run> {
    let scaled = |factor: f64| Run {
        thread_cpu_us: Some(0.91 * factor),
        cluster: Some(Cluster {
            nodes,
            shards: 4 * nodes,
            busy: (0..nodes).map(|node| 0.15 + 0.01 * node as f64).collect(),
        }),
        ..run(1, 20.0 * factor / nodes as f64)
    };
    [1.0, 1.05, 0.98].map(scaled).into()
}

fn run(consumers: usize, seconds: f64) -> Run {
    Run {
        consumers,
        messages: 1_000_000,
        seconds,
        publish_seconds: seconds * 0.97,
        group_cpu_us: 1.9 + 0.05 * consumers as f64,
        thread_cpu_us: Some(0.91),
        server_cpu_us: 2.6 + 1.2 / consumers as f64,
        load_cpu_us: 0.08,
        busy: (3.1 / seconds).min(1.0),
        commits: 412_345,
        peak_memory: Some((18 << 20) + ((consumers as u64) << 19)),
        delivery: delivery(1_000_000),
        cluster: None,
    }
}

fn delivery(messages: u64) -> Delivery {
    let ledger = Counts { received: messages, processed: messages, ..Counts::default() };
    Delivery { ledger, ..Delivery::default() }
}

fn server_limit(factor: f64) -> ServerLimit {
    ServerLimit {
        messages: 1_000_000,
        seconds: (1.31 + 1.72) * factor,
        publish_seconds: 1.31 * factor,
        publish_cpu_us: 1.18 * factor,
        xadd_cpu_us: 1.57 * factor,
        busy: 0.97,
    }
}

fn bare(factor: f64) -> Bare {
    Bare {
        messages: 1_000_000,
        seconds: 3.2 * factor,
        server_cpu_us: 2.51 * factor,
        mover_cpu_us: 0.5 * factor,
        busy: 0.8,
    }
}

fn engine_limit(consumers: usize) -> Vec<EngineLimit> {
    let seconds = 0.82 / (consumers.min(4) as f64).sqrt();
    let limit = |factor: f64| EngineLimit { consumers, messages: 1_000_000, seconds: seconds * factor };
    [1.0, 1.1, 0.97].map(limit).into()
}

fn reached(rate: f64, median: f64) -> Latency {
    let messages = (rate * 10.0) as u64;
    Latency {
        rate,
        messages,
        consumers: 4,
        outcome: Outcome::Reached {
            latency: distribution(median, messages),
            late: distribution(6.0, messages),
        },
        delivery: delivery(messages),
    }
}

/// A distribution with a long tail, in classes as fine as those of a histogram.
fn distribution(median: f64, messages: u64) -> Distribution {
    let at = |beyond: f64| (median * (0.7 + 0.3 * (1.0 / beyond).log2().powf(1.4))).round();
    let mut classes = Vec::new();
    let (mut left, mut beyond) = (messages, 1.0);
    while left > 0 {
        beyond /= 1.04;
        let here = left.min(((messages as f64 * beyond * 0.04).ceil()) as u64);
        classes.push((at(beyond), here));
        left -= here;
    }
    let max = classes.last().map_or(f64::NAN, |class| class.0);
    Distribution { p50: at(0.5), p90: at(0.1), p99: at(0.01), p999: at(0.001), max, classes }
}
