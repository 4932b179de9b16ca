//! The options of `bench`.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::part::protocol::Work;
use super::plan::{Plan, Section};
use super::rate::Rate;
use super::source::Source;
use crate::connection::ConnectionArgs;
use crate::exit::{self, Coded};
use crate::options::{duration, size};
use crate::publish::{Payload, payload_bytes, some_time};

/// Measure throughput and latency, on a private server or the one that is given
///
/// Without a server given, it starts the valkey-server or redis-server on PATH (or the one that REDIS_SERVER names) as
/// a private process. On any other server it asks first, uses keys that begin with bench: and removes them. Each run
/// is checked against what was published: exit code 1 if anything was lost or is there twice, 99 if --baseline was
/// given and throughput fell. With --source stream a run moves a backlog: the stream is filled first, and the group is
/// measured from its first read on, against a single connection that moves the same and processes nothing (bare). Two
/// more things are measured with --only: what a group costs that is idle, and what
/// memory one takes that is stuck, with a processor that never finishes and a full --buffer.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// Where the group's messages come from
    #[arg(long, value_name = "WORD", value_enum, default_value = "pubsub")]
    source: Source,
    /// Measure with each of these numbers of consumers
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,2,4,8", value_parser = consumers)]
    consumers: Vec<usize>,
    /// Messages of a run
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    messages: u64,
    /// How often each throughput is measured
    #[arg(long, value_name = "N", default_value = "3", value_parser = runs)]
    runs: usize,
    /// About how many bytes a message has
    #[arg(long, value_name = "N", value_parser = payload_bytes)]
    payload_bytes: Option<usize>,
    /// Wait so long in the processor; then a run has as many messages as take about 5 s
    #[arg(long, value_name = "TIME", value_parser = work)]
    work: Option<Duration>,
    /// Compute so long in the processor
    #[arg(long, value_name = "TIME", value_parser = work)]
    work_cpu: Option<Duration>,
    /// Measure latency at each of these rates, in messages a second; max is the throughput that was measured
    #[arg(long, value_name = "R,…", value_delimiter = ',', default_value = "1000,10000,100000,max/2")]
    rates: Vec<Rate>,
    /// How long to publish at each rate
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    latency_time: Duration,
    /// Consumers for latency, burst and stuck [default: 4, or the largest of --consumers below it]
    #[arg(long, value_name = "N", value_parser = consumers)]
    latency_consumers: Option<usize>,
    /// How long idle looks at a group that has nothing to do
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = idle_time)]
    idle_time: Duration,
    /// Consumers for idle
    #[arg(long, value_name = "N", default_value = "1000", value_parser = consumers)]
    idle_consumers: usize,
    /// Measure these only [default: throughput, latency and burst; with --work, throughput]
    #[arg(long, value_name = "WORD,…", value_delimiter = ',', value_enum)]
    only: Vec<Section>,
    /// The memory that waiting messages may hold in the group
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = buffer)]
    buffer: usize,
    /// Do not ask before using a server that is not private
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print the report as JSON, with all samples, or write it to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    /// Print the report as CSV, or write it to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) csv: Option<PathBuf>,
    /// Print the report as Markdown, or write it to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw throughput and latency, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Compare with an earlier report in JSON; exit code 99 if throughput fell
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// How much throughput may fall
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    pub(crate) tolerance: f64,
    // Last, because the heading of its options holds for what follows.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

impl BenchArgs {
    /// The plan that the options describe.
    ///
    /// # Errors
    /// Where two of them do not fit together.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        let payload_bytes = self.payload_bytes.unwrap_or(Payload::SHORTEST);
        if payload_bytes > self.buffer {
            let text = format!(
                "--payload-bytes: {payload_bytes} bytes never find room in a --buffer of {} bytes",
                self.buffer
            );
            bail!(Coded { code: exit::USAGE, text });
        }
        let micros =
            |time: Option<Duration>| time.map(|time| time.as_micros().try_into().unwrap_or(u64::MAX));
        let work = Work { wait_us: micros(self.work), compute_us: micros(self.work_cpu) };
        let sections = match (&self.only[..], work.is_none()) {
            ([], _) if self.source == Source::Stream => vec![Section::Throughput],
            ([], true) => vec![Section::Throughput, Section::Latency, Section::Burst],
            ([], false) => vec![Section::Throughput],
            (only, _) => only.to_vec(),
        };
        let mut consumers = self.consumers.clone();
        consumers.sort_unstable();
        consumers.dedup();
        Ok(Plan {
            sections,
            source: self.source,
            latency_consumers: self.latency_consumers.unwrap_or_else(|| usual(&consumers)),
            consumers,
            messages: self.messages,
            runs: self.runs,
            payload_bytes,
            work,
            rates: self.rates.clone(),
            latency_time: self.latency_time,
            buffer: self.buffer,
            idle_time: self.idle_time,
            idle_consumers: self.idle_consumers,
        })
    }
}

/// 4 consumers, or as near to that from below as was measured.
fn usual(consumers: &[usize]) -> usize {
    const USUAL: usize = 4;
    let below = consumers.iter().copied().filter(|consumers| *consumers <= USUAL).max();
    below.or(consumers.first().copied()).unwrap_or(USUAL)
}

fn consumers(text: &str) -> Result<usize, String> {
    within(text, 1..=10_000)
}

fn runs(text: &str) -> Result<usize, String> {
    within(text, 1..=1000)
}

fn within(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{text:?} is no number from {} to {}", range.start(), range.end()))
}

fn work(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(60);
    match duration(text)? {
        time if (Duration::from_micros(1)..=LONGEST).contains(&time) => Ok(time),
        _ => Err("the work for a message takes 1us to 1m; write it like 10ms".to_owned()),
    }
}

fn idle_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing can be seen in no time; take 1s or more".to_owned()),
        time => Ok(time),
    }
}

fn buffer(text: &str) -> Result<usize, String> {
    match size(text)? {
        bytes if bytes >= 64 << 10 => Ok(bytes),
        _ => Err("it holds no batch of messages; take 64KiB or more".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    let part = number.map(|number| number / 100.0).filter(|part| (0.0..1.0).contains(part));
    part.ok_or_else(|| format!("{text:?} is no percentage from 0% to below 100%; write it like 10%"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn args(options: &str) -> Result<BenchArgs, String> {
        Program::try_parse_from([&["bench"], &options.split_whitespace().collect::<Vec<_>>()[..]].concat())
            .map(|program| program.bench)
            .map_err(|error| error.to_string())
    }

    fn plan(options: &str) -> Plan {
        args(options).unwrap().plan().unwrap()
    }

    #[test]
    fn the_default_is_what_says_how_fast_it_is_with_a_million_messages() {
        let plan = plan("");
        assert_eq!(plan.sections, [Section::Throughput, Section::Latency, Section::Burst]);
        assert_eq!((plan.consumers, plan.messages, plan.runs), (vec![1, 2, 4, 8], 1_000_000, 3));
        assert_eq!((plan.latency_consumers, plan.payload_bytes, plan.buffer), (4, 53, 256 << 20));
        assert_eq!(plan.rates[3], Rate::Share(2.0));
    }

    #[test]
    fn with_work_only_throughput_is_measured_unless_more_is_asked_for() {
        assert_eq!(plan("--work 10ms").sections, [Section::Throughput]);
        assert_eq!(plan("--work-cpu 50us --only latency").sections, [Section::Latency]);
        let work = plan("--work 10ms --work-cpu 50us").work;
        assert_eq!((work.wait_us, work.compute_us), (Some(10_000), Some(50)));
    }

    #[test]
    fn idling_and_being_stuck_are_measured_where_they_are_asked_for() {
        let asked = plan("--only idle,stuck --idle-time 300ms --idle-consumers 20");
        assert_eq!(asked.sections, [Section::Idle, Section::Stuck]);
        assert_eq!((asked.idle_time, asked.idle_consumers), (Duration::from_millis(300), 20));
        let usual = plan("");
        assert_eq!((usual.idle_time, usual.idle_consumers), (Duration::from_secs(10), 1000));
    }

    #[test]
    fn latency_is_measured_with_four_consumers_or_as_near_as_was_measured() {
        for (consumers, expected) in [("1,2", 2), ("8,1,3", 3), ("8,16", 8), ("1000,4,4", 4)] {
            assert_eq!(plan(&format!("--consumers {consumers}")).latency_consumers, expected, "{consumers}");
        }
        assert_eq!(plan("--consumers 1 --latency-consumers 7").latency_consumers, 7);
    }

    #[test]
    fn a_format_without_a_file_goes_to_stdout() {
        let args = args("--json --csv=a.csv").unwrap();
        assert_eq!((args.json, args.csv, args.markdown), (Some("-".into()), Some("a.csv".into()), None));
    }

    #[test]
    fn each_refusal_says_what_to_write_instead() {
        for (options, hint) in [
            ("--consumers 0", "from 1 to 10000"),
            ("--consumers 1,many", "from 1 to 10000"),
            ("--runs 0", "from 1 to 1000"),
            ("--messages 0", "1..=1000000000"),
            ("--rates soon", "write it like 1000, max or max/2"),
            ("--work 0s", "write it like 10ms"),
            ("--work 2m", "1us to 1m"),
            ("--latency-time 0s", "take 1s or more"),
            ("--idle-time 0s", "take 1s or more"),
            ("--idle-consumers 10001", "from 1 to 10000"),
            ("--buffer 1KiB", "64KiB or more"),
            ("--tolerance 200%", "write it like 10%"),
            ("--only speed", "throughput, latency, burst, idle, stuck"),
        ] {
            let error = args(options).unwrap_err();
            assert!(error.contains(hint), "{options}: {error}");
        }
        let error = args("--payload-bytes 200000 --buffer 64KiB").unwrap().plan().unwrap_err();
        assert!(error.to_string().contains("never find room"), "{error}");
    }
}
