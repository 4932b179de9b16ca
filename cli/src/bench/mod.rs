//! `bench`: measures throughput, latency and memory, on a private server or a given one.
//!
//! ```text
//!   args ──► plan                 what to measure
//!              │
//!   safety ──► environment        the server: private, or given and checked
//!              │
//!            measure ◄──► processes ◄──► role    child processes: the group, the load
//!              │
//!            report ──► outputs   a table, or files
//! ```

mod args;
mod baseline;
mod check;
mod cluster;
mod distribution;
mod environment;
mod machine;
mod measure;
mod numbering;
mod output;
mod outputs;
mod overflow;
mod plan;
mod processes;
mod progress;
mod rate;
mod report;
mod role;
mod safety;
mod source;
mod statistics;

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, bail};
use tokio::task::spawn_blocking;

pub(crate) use args::BenchArgs;
use environment::Environment;
use measure::Bench;
use outputs::Outputs;
use plan::Plan;
pub(crate) use processes::PROCESS;
use processes::Processes;
use progress::Progress;
use report::{Machine, Parameters, Report};
pub(crate) use role::run as run_role;
use source::Source;

use crate::exit::{self, Coded};
use crate::secret::without_credentials;
use crate::stdout::{self, Closed};
use crate::stop::Stop;
use crate::talk::say;

/// Measures, and prints or writes the report. Also with an error and after a signal, nothing is left of what it started
/// or wrote to the server.
///
/// Exit code 1 if a message was lost or duplicated, a ledger does not add up, or nothing could be compared; 99 if the
/// throughput fell.
pub(crate) async fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let plan = args.plan()?;
    let earlier = args.baseline.as_deref().map(read).transpose()?;
    let outputs = Outputs::open(&args)?;
    let stop = Stop::on_signals()?;
    let processes = Processes::default();
    let measured = tokio::select! {
        measured = measured(&args, &plan, &processes, &stop) => measured?,
        // Dropping the rest kills all processes; keys may stay on a given server.
        () = stop.insisted() => {
            say("Stopped at once. If the server is not private, keys that begin with bench: or {bench: may be left there.");
            return Ok(exit::FAILED.into());
        }
    };
    let Some(report) = measured else { return Ok(exit::FAILED.into()) };

    let (text, written) = outputs.write(&report);
    print(format!("{}\n", text?.trim_end()), &stop).await?;
    written?;
    let comparison = earlier.map(|earlier| baseline::compare(&earlier, &report, args.tolerance));
    if let Some(comparison) = &comparison {
        say(comparison);
    }
    if !report.is_flawless() {
        say(
            "Failed: messages were lost or duplicated, or a ledger does not add up. The figures are not valid.",
        );
        return Ok(exit::FAILED.into());
    }
    Ok(match comparison {
        Some(comparison) if !comparison.compared() => exit::FAILED.into(),
        Some(comparison) if comparison.fell() => exit::FELL.into(),
        Some(_) | None => ExitCode::SUCCESS,
    })
}

/// Prints the report. Waits for a slow reader until the second signal.
async fn print(text: String, stop: &Stop) -> anyhow::Result<()> {
    tokio::select! {
        printed = spawn_blocking(move || stdout::print(text.as_bytes())) => match printed? {
            Err(error) if error.is::<Closed>() => Ok(()),
            printed => printed.context("the report could not be printed; give a file, like --json=FILE"),
        },
        () = stop.insisted() => Ok(()),
    }
}

/// The report, or `None` after a signal. Leaves nothing on the server.
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
    // Ends all child processes before the cleanup, so that they write nothing after it.
    processes.end_all().await;
    let left = if environment.is_private() { Ok(()) } else { environment.leave().await };
    match outcome {
        Some(outcome) => outcome.and(left).map(|()| Some(report)),
        None => {
            left?;
            say("Stopped: nothing is left on the server.");
            Ok(None)
        }
    }
}

/// The server: private, or the given one if it may be used.
async fn environment(args: &BenchArgs, plan: &Plan) -> anyhow::Result<Environment> {
    let Some((address, tls)) = args.connection.resolve_if_given()? else {
        return Environment::private().await;
    };
    if plan.source == Source::Sharded {
        let text = "--source sharded starts clusters of its own, one for each number of --nodes, and cannot use a given \
                    server: leave out --url, and unset RCG_URL and REDIS_URL";
        bail!(Coded { code: exit::USAGE, text: text.to_owned() });
    }
    if !args.yes {
        let text = format!(
            "the bench would write to the server at {address} and load it fully: allow that with --yes; it uses keys that \
             begin with bench: or {{bench: and removes them afterwards"
        );
        bail!(Coded { code: exit::USAGE, text });
    }
    let mut environment = Environment::given(address, &tls).await?;
    safety::check(&mut environment, plan.most_entries(), plan.payload_bytes).await?;
    Ok(environment)
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
        ..Report::default()
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
            "--baseline: {at} is not a report of this version ({error}); make one with bench --json={at}"
        ))
    })
}
