//! `bench`: throughput and latency, on a private server or a given one.
//!
//! ```text
//!   args ──► plan          what is measured
//!              │
//!   safety ──► environment         the server: private, or one that may be used and has nothing of ours
//!              │
//!            measure ◄──► processes ◄──► part   processes of their own: the group, the load
//!              │
//!            report ──► outputs    a table, or files
//! ```

mod args;
mod baseline;
mod check;
mod clock;
mod cluster;
mod distribution;
mod environment;
mod files;
mod machine;
mod measure;
mod numbering;
mod output;
mod outputs;
mod overflow;
mod part;
mod plan;
mod processes;
mod progress;
mod rate;
mod report;
mod safety;
mod schedule;
mod source;

use std::env;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use tokio::task::spawn_blocking;

pub(crate) use args::BenchArgs;
use environment::Environment;
use measure::Bench;
use outputs::Outputs;
use overflow::Overflow;
pub(crate) use part::run as run_part;
use plan::{Plan, Section};
pub(crate) use processes::PART;
use processes::Processes;
use progress::Progress;
use report::{Machine, Parameters, Report};
use safety::Extent;
use source::Source;

use crate::exit::{self, Coded};
use crate::secret::without_credentials;
use crate::stop::Stop;
use crate::talk::say;

/// Measures, and prints or writes the report. Whatever it started or wrote to the server is gone when this
/// returns, also with an error and after a signal.
///
/// Exit code 1 if a message was lost or duplicated or is in no ledger, or nothing could be compared; 99 if
/// throughput fell.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let plan = args.plan()?;
    let earlier = args.baseline.as_deref().map(read).transpose()?;
    let outputs = Outputs::open(&args)?;
    let stop = Stop::on_signals()?;
    let processes = Processes::default();
    let measured = tokio::select! {
        measured = measured(&args, &plan, &processes, &stop) => measured?,
        // Dropping everything kills what is left; a given server may keep keys.
        () = stop.insisted() => {
            say("Stopped at once. On a server that is not private, keys that begin with bench: or {bench: may be left.");
            return Ok(exit::FAILED.into());
        }
    };
    let Some(report) = measured else { return Ok(exit::FAILED.into()) };

    let (text, written) = outputs.write(&report);
    print(format!("{}\n", text.trim_end()), &stop).await?;
    written?;
    let comparison = earlier.map(|earlier| baseline::compare(&earlier, &report, args.tolerance));
    if let Some(comparison) = &comparison {
        say(comparison);
    }
    if !report.is_flawless() {
        say("Failed: messages were lost or duplicated, or a ledger does not add up, so nothing here counts.");
        return Ok(exit::FAILED.into());
    }
    Ok(match comparison {
        Some(comparison) if !comparison.compared() => exit::FAILED.into(),
        Some(comparison) if comparison.fell() => exit::FELL.into(),
        Some(_) | None => ExitCode::SUCCESS,
    })
}

/// Prints the report. A reader that takes nothing is waited for until a stop is insisted on.
async fn print(text: String, stop: &Stop) -> anyhow::Result<()> {
    let printing = spawn_blocking(move || {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    });
    tokio::select! {
        printed = printing => match printed? {
            // Whoever reads only the beginning wanted no more.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(error).context("cannot write the report to stdout; give a file, like --json=FILE")
            }
            _ => Ok(()),
        },
        () = stop.insisted() => Ok(()),
    }
}

/// The report, or `None` after a signal. Leaves nothing behind.
async fn measured(
    args: &BenchArgs,
    plan: &Plan,
    processes: &Processes,
    stop: &Stop,
) -> anyhow::Result<Option<Report>> {
    let mut environment = tokio::select! {
        environment = environment(args, plan) => environment?,
        () = stop.asked() => {
            say("Stopped before the first message.");
            return Ok(None);
        }
    };
    let mut report = empty_report(plan, &environment).await;
    let progress = Progress::new();
    let bench = Bench {
        plan,
        environment: &mut environment,
        processes,
        progress: &progress,
        cores: machine::cores(),
    };
    let outcome = tokio::select! {
        outcome = bench.measure(&mut report) => Some(outcome),
        () = stop.asked() => None,
    };
    drop(progress);
    // The parts that were at work end now, and with them what they would still write.
    processes.dismiss().await;
    let left = if environment.is_private() { Ok(()) } else { environment.leave().await };
    match outcome {
        Some(outcome) => outcome.and(left).map(|()| Some(report)),
        None => {
            left?;
            say("Stopped: nothing is left of it.");
            Ok(None)
        }
    }
}

/// The server, if it may be used.
async fn environment(args: &BenchArgs, plan: &Plan) -> anyhow::Result<Environment> {
    let Some((address, tls)) = args.connection.resolve_if_given()? else {
        return Environment::private().await;
    };
    if plan.source == Source::Sharded {
        let text = "--source sharded starts clusters of its own, one for each number of --nodes, and cannot use a server \
                    that is given: leave out --url, and unset RCG_URL and REDIS_URL";
        bail!(Coded { code: exit::USAGE, text: text.to_owned() });
    }
    let mut environment = Environment::given(address, &tls).await?;
    let extent = extent(plan);
    safety::check(&mut environment, extent).await?;
    if !args.yes {
        safety::ask(&environment, extent).await?;
    }
    Ok(environment)
}

/// How much a plan publishes.
fn extent(plan: &Plan) -> Extent {
    /// Nobody knows the throughput yet.
    const THROUGHPUT: f64 = 500_000.0;
    let cores = machine::cores();
    let runs: Vec<_> = plan.consumers.iter().map(|consumers| plan.messages_for(*consumers, cores)).collect();
    let rates: Vec<_> = plan.rates.iter().map(|rate| plan.messages_at(rate.at(THROUGHPUT))).collect();
    let burst = plan.messages_for(plan.latency_consumers, cores);
    let (mut all, mut most) = (0, 0);
    if plan.has(Section::Throughput) {
        all += plan.runs as u64 * (plan.messages + runs.iter().sum::<u64>());
        most = plan.messages;
    }
    if plan.has(Section::Latency) {
        all += rates.iter().sum::<u64>();
        most = rates.into_iter().fold(most, u64::max);
        if plan.measures_for_rates() {
            all += burst;
            most = most.max(burst);
        }
    }
    if plan.has(Section::Burst) {
        let (messages, runs) = match plan.overflow {
            Overflow::Drop => (burst, 1),
            Overflow::Spill => (plan.messages, plan.consumers.len() as u64),
        };
        all += runs * messages;
        most = most.max(messages);
    }
    // Nothing of this is appended.
    if plan.has(Section::Stuck) {
        all += plan.messages;
    }
    let entries = match (plan.source, plan.overflow) {
        (Source::Pubsub | Source::Sharded, Overflow::Drop) => most,
        // A message is there twice: as it was read, or spilled, and as it was appended.
        (Source::Stream, _) | (_, Overflow::Spill) => 2 * most,
    };
    Extent::new(all, entries, plan.payload_bytes)
}

async fn empty_report(plan: &Plan, environment: &Environment) -> Report {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let arguments = env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let arguments: Vec<_> = arguments.collect();
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        began: since_1970.as_secs(),
        machine: Machine::this().await,
        server: environment.described(),
        parameters: Parameters {
            command: without_credentials(&arguments.join(" ")),
            source: plan.source,
            overflow: plan.overflow,
            messages: plan.messages,
            runs: plan.runs,
            consumers: plan.consumers.clone(),
            payload_bytes: plan.payload_bytes,
            work_us: plan.work.wait_us,
            work_cpu_us: plan.work.compute_us,
            latency_seconds: plan.latency_time.as_secs_f64(),
            latency_consumers: plan.latency_consumers,
            buffer: plan.buffer as u64,
            rate: plan.rate,
        },
        server_limit: Vec::new(),
        bare: Vec::new(),
        engine_limit: Vec::new(),
        work_limit: Vec::new(),
        throughput: Vec::new(),
        latency: Vec::new(),
        burst: Vec::new(),
        idle: Vec::new(),
        stuck: Vec::new(),
        spill: Vec::new(),
        scaling: Vec::new(),
    }
}

/// An earlier report.
fn read(path: &Path) -> Result<Report, Coded> {
    let refused = |text| Coded { code: exit::CONFIGURATION, text };
    let at = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| refused(format!("--baseline: cannot read {at}: {error}; check the path")))?;
    serde_json::from_str(&text).map_err(|error| {
        refused(format!(
            "--baseline: {at} is no report of a bench ({error}); make one with bench --json={at}"
        ))
    })
}
