//! The tables of a report: the same ones for the terminal and in Markdown.

use super::numbers;
use super::section::{FAILED, Section};
use crate::bench::report::{Distribution, Latency, Outcome, Report, Run, ServerLimit, Stuck};
use crate::bench::source::Source;
use crate::bench::statistics::{Group, Spread, grouped};
use crate::printable::printable;

/// All tables that are not empty.
pub(super) fn sections(report: &Report) -> Vec<Section> {
    let throughput = grouped(&report.throughput, |run| run.consumers);
    let scaling = grouped(&report.scaling, Run::nodes);
    let mut sections = vec![
        server_limit(report),
        bare(report),
        throughput_rates(report, &throughput),
        throughput_costs(report, &throughput),
        scaling_rates(report, &scaling),
        scaling_costs(&scaling),
        latency(report),
        bursts("Burst: all messages at once, at the server's own limits", &report.burst),
        bursts(
            "Burst with a spill: all messages at once, until all that was spilled is in the output",
            &report.spill,
        ),
        spill(report),
        idle(report),
        stuck(report),
    ];
    sections.retain(|section| !section.rows.is_empty());
    sections
}

fn server_limit(report: &Report) -> Section {
    let runs = grouped(&report.server_limit, |_| 0);
    let rate = |run: &ServerLimit| run.messages as f64 / run.seconds;
    Section::of("The server's limit: PUBLISH, then XADD, without a group", &runs)
        .column("messages/s", |runs| numbers::rate(runs.median(rate)))
        .column("spread", |runs| numbers::spread(runs.spread(rate)))
        .column("PUBLISH\nµs CPU", |runs| numbers::micros(runs.median(|run| run.publish_cpu_us)))
        .column("XADD\nµs CPU", |runs| numbers::micros(runs.median(|run| run.xadd_cpu_us)))
        .column("both\nµs CPU", |runs| numbers::micros(runs.median(ServerLimit::cpu_us)))
        .column("server's\nthread busy", |runs| numbers::percent(runs.median(|run| run.busy)))
        .finish()
}

fn bare(report: &Report) -> Section {
    let runs = grouped(&report.bare, |_| 0);
    let title = "Bare: one connection that reads 256, then adds and acknowledges them in one transaction";
    Section::of(title, &runs)
        .column("messages/s", |runs| numbers::rate(runs.median(|run| run.messages as f64 / run.seconds)))
        .column("spread", |runs| numbers::spread(runs.spread(|run| run.messages as f64 / run.seconds)))
        .column("server\nµs CPU", |runs| numbers::micros(runs.median(|run| run.server_cpu_us)))
        .column("mover\nµs CPU", |runs| numbers::micros(runs.median(|run| run.mover_cpu_us)))
        .column("server's\nthread busy", |runs| numbers::percent(runs.median(|run| run.busy)))
        .finish()
}

fn throughput_rates(report: &Report, groups: &[Group<'_, Run>]) -> Section {
    let (title, share_of_floor) = match report.parameters.source {
        Source::Pubsub | Source::Sharded => {
            ("Throughput: median, and spread from least to most", "of\nserver's\nlimit")
        }
        Source::Stream => (
            "Throughput of a backlog, from its first read: median, and spread from least to most",
            "of\nbare\nmove",
        ),
    };
    let floor = report.floor();
    let median = |runs: &Group<'_, Run>| runs.median(Run::rate);
    Section::of(title, groups)
        .column("consumers", |runs| runs.key.to_string())
        .column("messages/s", |runs| numbers::rate(median(runs)))
        .column("spread", |runs| numbers::spread(runs.spread(Run::rate)))
        .column(share_of_floor, |runs| numbers::percent(median(runs) / floor.rate))
        .column_if(!report.work_limit.is_empty(), "of\nwork's\nlimit", |runs| {
            numbers::percent(median(runs) / report.work_rate(runs.key))
        })
        .column_if(report.parameters.source == Source::Pubsub, "engine\nalone", |runs| {
            numbers::rate(report.engine_rate(runs.key))
        })
        .column("lost", |runs| numbers::count(runs.sum(|run| run.delivery.lost)))
        .column("duplicated", |runs| numbers::count(runs.sum(|run| run.delivery.duplicated)))
        .mark(FAILED, |runs| !runs.is_flawless())
        .finish()
}

/// Apart from the rates: one table would be wider than a terminal.
fn throughput_costs(report: &Report, groups: &[Group<'_, Run>]) -> Section {
    let title = match report.parameters.source {
        Source::Pubsub | Source::Sharded => {
            "CPU of a message, and its ratio to the bare server's (PUBLISH and XADD alone)"
        }
        Source::Stream => "CPU of a message, and its ratio to the server's in the bare move",
    };
    let bare = report.floor().cpu_us;
    let group_cpu = |runs: &Group<'_, Run>| runs.median(|run| run.group_cpu_us);
    let server_cpu = |runs: &Group<'_, Run>| runs.median(|run| run.server_cpu_us);
    Section::of(title, groups)
        .column("consumers", |runs| runs.key.to_string())
        .column("group\nµs CPU", |runs| numbers::micros(group_cpu(runs)))
        .column("group\nto bare", |runs| numbers::times(group_cpu(runs) / bare))
        .column("server\nµs CPU", |runs| numbers::micros(server_cpu(runs)))
        .column("server\nto bare", |runs| numbers::times(server_cpu(runs) / bare))
        .column("server's\nthread busy", |runs| numbers::percent(runs.median(|run| run.busy)))
        .column("group's\npeak memory", |runs| numbers::memory(runs.peak_memory()))
        .finish()
}

fn scaling_rates(report: &Report, groups: &[Group<'_, Run>]) -> Section {
    let load = match report.parameters.rate {
        Some(rate) => format!("{} messages/s for each node", numbers::rate(rate)),
        None => "at the full speed of this machine, which nodes, group and loads share".to_owned(),
    };
    let busy = |runs: &Group<'_, Run>| {
        let clusters = runs.runs.iter().filter_map(|run| run.cluster.as_ref());
        Spread::of(clusters.flat_map(|cluster| cluster.busy.iter().copied())).median
    };
    Section::of(format!("A cluster as nodes are added: {load}; medians"), groups)
        .column("nodes", |runs| runs.key.to_string())
        .column("shards", |runs| {
            let cluster = runs.runs.first().and_then(|run| run.cluster.as_ref());
            cluster.map_or_else(String::new, |cluster| cluster.shards.to_string())
        })
        .column("messages/s", |runs| numbers::rate(runs.median(Run::rate)))
        .column("spread", |runs| numbers::spread(runs.spread(Run::rate)))
        .column("nodes'\nthreads busy", |runs| numbers::percent(busy(runs)))
        .column("messages\na commit", |runs| {
            numbers::rate(runs.median(|run| run.delivery.ledger.processed as f64 / run.commits as f64))
        })
        .column("lost", |runs| numbers::count(runs.sum(|run| run.delivery.lost)))
        .column("duplicated", |runs| numbers::count(runs.sum(|run| run.delivery.duplicated)))
        .column("gaps", |runs| numbers::count(runs.sum(|run| run.delivery.ledger.gaps)))
        .mark(FAILED, |runs| !runs.is_flawless())
        .finish()
}

fn scaling_costs(groups: &[Group<'_, Run>]) -> Section {
    let fewest = groups.iter().min_by_key(|runs| runs.key);
    let ratio = |runs: &Group<'_, Run>, cost: fn(&Run) -> f64| {
        let least = fewest.map_or(f64::NAN, |fewest| fewest.median(cost));
        numbers::times(runs.median(cost) / least)
    };
    let group: fn(&Run) -> f64 = |run| run.group_cpu_us;
    let servers: fn(&Run) -> f64 = |run| run.server_cpu_us;
    let both: fn(&Run) -> f64 = |run| run.group_cpu_us + run.server_cpu_us;
    let title = "CPU of a message, of all nodes together, and its ratio to that with the fewest nodes";
    Section::of(title, groups)
        .column("nodes", |runs| runs.key.to_string())
        .column("group\nµs CPU", |runs| numbers::micros(runs.median(group)))
        .column("to the\nfewest", |runs| ratio(runs, group))
        .column("its reading\nthread", |runs| {
            numbers::micros(runs.median(|run| run.thread_cpu_us.unwrap_or(f64::NAN)))
        })
        .column("servers\nµs CPU", |runs| numbers::micros(runs.median(servers)))
        .column("to the\nfewest", |runs| ratio(runs, servers))
        .column("both", |runs| numbers::micros(runs.median(both)))
        .column("to the\nfewest", |runs| ratio(runs, both))
        .column("loads\nµs CPU", |runs| numbers::micros(runs.median(|run| run.load_cpu_us)))
        .column("group's\npeak memory", |runs| numbers::memory(runs.peak_memory()))
        .finish()
}

fn latency(report: &Report) -> Section {
    let consumers = numbers::counted(report.parameters.latency_consumers as u64, "consumer");
    let title =
        format!("Latency with {consumers}: from the moment a message was due to its entry's confirmation");
    let time = |value: fn(&Distribution) -> f64| {
        move |latency: &Latency| match &latency.outcome {
            Outcome::Reached { latency, .. } => numbers::time(value(latency)),
            Outcome::Missed { .. } => numbers::NOTHING.to_owned(),
        }
    };
    Section::of(title, &report.latency)
        .column("messages/s", |latency| numbers::rate(latency.rate))
        .column("p50", |latency| match &latency.outcome {
            Outcome::Reached { latency, .. } => numbers::time(latency.p50),
            Outcome::Missed { .. } => "missed".to_owned(),
        })
        .column("p90", time(|latency| latency.p90))
        .column("p99", time(|latency| latency.p99))
        .column("p99.9", time(|latency| latency.p999))
        .column("max", time(|latency| latency.max))
        .column("load late\np99", |latency| match &latency.outcome {
            Outcome::Reached { late, .. } => numbers::time(late.p99),
            Outcome::Missed { .. } => numbers::NOTHING.to_owned(),
        })
        .column("lost", |latency| numbers::count(latency.delivery.lost))
        .column("duplicated", |latency| numbers::count(latency.delivery.duplicated))
        .mark(FAILED, |latency| !latency.delivery.is_flawless())
        .notes(|latency| match &latency.outcome {
            Outcome::Reached { .. } => None,
            Outcome::Missed { rate, reason } => Some(format!(
                "{} messages/s were not reached, only {}: {}",
                numbers::rate(latency.rate),
                numbers::rate(*rate),
                printable(reason)
            )),
        })
        .finish()
}

fn bursts(title: &str, runs: &[Run]) -> Section {
    Section::of(title, runs)
        .column("consumers", |run| run.consumers.to_string())
        .column("published", |run| numbers::count(run.messages))
        .column("received", |run| numbers::count(run.delivery.ledger.received))
        .column("processed", |run| numbers::count(run.delivery.ledger.processed))
        .column("lost", |run| numbers::count(run.delivery.lost))
        .column("duplicated", |run| numbers::count(run.delivery.duplicated))
        .column("dropped", |run| numbers::count(run.delivery.ledger.dropped))
        .column("peak\nmemory", |run| numbers::memory(run.peak_memory))
        .column("time", |run| numbers::seconds(run.seconds))
        .mark(FAILED, |run| !run.delivery.is_flawless())
        .finish()
}

fn spill(report: &Report) -> Section {
    Section::of("The spill: messages that did not fit into the buffer, and were read back", &report.spill)
        .column("consumers", |run| run.consumers.to_string())
        .column("buffer", |_| numbers::memory(Some(report.parameters.buffer)))
        .column("spilled", |run| numbers::count(run.delivery.ledger.spilled))
        .column("most\nat once", |run| numbers::count(run.delivery.ledger.most_in_spill))
        .column("read\nback", |run| numbers::count(run.delivery.ledger.read_back))
        .column("left", |run| numbers::count(run.delivery.pending))
        .mark(FAILED, |run| !run.delivery.is_flawless())
        .finish()
}

fn idle(report: &Report) -> Section {
    Section::of("Idle: a group with nothing to do, after its start has settled", &report.idle)
        .column("consumers", |idle| numbers::count(idle.consumers as u64))
        .column("time", |idle| numbers::seconds(idle.seconds))
        .column("CPU of\na core", |idle| numbers::fine_percent(idle.busy()))
        .column("group's\npeak memory", |idle| numbers::memory(idle.peak_memory))
        .finish()
}

fn stuck(report: &Report) -> Section {
    Section::of("Stuck: messages at full speed for a processor that never finishes", &report.stuck)
        .column("published", |stuck| numbers::count(stuck.messages))
        .column("received", |stuck| numbers::count(stuck.ledger.received))
        .column("dropped", |stuck| numbers::count(stuck.ledger.dropped))
        .column("abandoned", |stuck| numbers::count(stuck.ledger.abandoned))
        .column("never\nreceived", |stuck| numbers::count(stuck.missed()))
        .column("gaps", |stuck| numbers::count(stuck.ledger.gaps))
        .column("buffer's\nlimit", |_| numbers::memory(Some(report.parameters.buffer)))
        .column("group's\npeak memory", |stuck| numbers::memory(stuck.peak_memory))
        .mark(FAILED, |stuck| !stuck.adds_up())
        .notes(stuck_notes)
        .finish()
}

fn stuck_notes(stuck: &Stuck) -> Vec<String> {
    let count = numbers::count;
    let mut notes = vec![if stuck.adds_up() {
        "The ledger adds up to the published messages.".to_owned()
    } else {
        format!(
            "The ledger does not add up: {} published, {} received, {} with an outcome.",
            count(stuck.messages),
            count(stuck.ledger.received),
            count(stuck.ledger.settled())
        )
    }];
    if stuck.undelivered > 0 {
        notes.push(format!("{} were published while nobody was subscribed.", count(stuck.undelivered)));
    }
    let cause = printable(stuck.cause.as_deref().unwrap_or("unknown cause"));
    match stuck.ledger.gaps {
        0 => {}
        1 => notes.push(format!("The group's connection broke once (a gap): {cause}")),
        gaps => notes.push(format!("The group's connection broke {gaps} times, the last time: {cause}")),
    }
    notes
}
