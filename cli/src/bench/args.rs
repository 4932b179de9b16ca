//! The options of `bench`.

mod sharded;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use self::sharded::ShardedArgs;
use super::overflow::Overflow;
use super::plan::{Plan, Section};
use super::rate::Rate;
use super::role::protocol::Work;
use super::source::Source;
use crate::connection::ConnectionArgs;
use crate::exit::{self, Coded};
use crate::load::{Payload, payload_bytes};
use crate::options::{duration, positive_duration, size};

/// Measure throughput and latency, on a private server or on yours
///
/// Without a server option, bench starts the valkey-server or redis-server on PATH (or the one named by REDIS_SERVER)
/// as a private process. On your own server, bench needs --yes; it uses keys that begin with bench: or {bench:, and removes
/// them afterwards. Each run is checked against the messages that were published. The exit code is 1 if a message was
/// lost, duplicated or not processed, and 99 if throughput fell compared with --baseline. --only can measure two more
/// things: the cost of an idle group, and the memory of a stuck one, whose processor never finishes and whose --buffer is
/// full.
///
/// With --source stream, a run moves a backlog: the stream is filled first, and the group is measured from its first
/// read. The group is compared with one connection that moves the same entries without processing them (bare).
///
/// With --source sharded, a group reads the shards of private clusters, one cluster for each number in --nodes. This
/// measures how the cost of a message changes as nodes are added: the CPU of the group, and of all nodes together.
///
/// With --overflow spill, all messages are published at once to a group whose buffer is too small for them. This
/// measures the time until the spill is empty again and everything is in the output.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchArgs {
    /// Where messages come from
    #[arg(long, value_name = "WORD", value_enum, default_value = "pubsub")]
    source: Source,
    /// What to do with a message when the buffer is full
    #[arg(long, value_name = "WORD", value_enum, default_value = "drop")]
    overflow: Overflow,
    /// Numbers of consumers to measure with [default: 1,2,4,8; with --overflow spill, 64; with --source sharded, 1 per
    /// shard]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = consumers)]
    consumers: Vec<usize>,
    #[command(flatten)]
    sharded: ShardedArgs,
    /// Messages per run
    #[arg(long, value_name = "N", default_value = "1000000", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    messages: u64,
    /// Number of runs for each throughput [default: 3]
    #[arg(long, value_name = "N", value_parser = runs)]
    runs: Option<usize>,
    /// Approximate size of a message, in bytes
    #[arg(long, value_name = "N", value_parser = payload_bytes)]
    payload_bytes: Option<usize>,
    /// Wait this long in the processor. A run then has enough messages to take about 5 s [default with --overflow
    /// spill: 1ms, and all messages]
    #[arg(long, value_name = "TIME", value_parser = work)]
    work: Option<Duration>,
    /// Use the CPU for this long in the processor
    #[arg(long, value_name = "TIME", value_parser = work)]
    work_cpu: Option<Duration>,
    /// Rates to measure latency at, in messages per second; max is the measured throughput
    #[arg(long, value_name = "R,…", value_delimiter = ',', default_value = "1000,10000,100000,max/2")]
    rates: Vec<Rate>,
    /// How long to publish at each rate
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive_duration)]
    latency_time: Duration,
    /// Consumers for latency, burst and stuck [default: 4, or the largest of --consumers below 4]
    #[arg(long, value_name = "N", value_parser = consumers)]
    latency_consumers: Option<usize>,
    /// Duration of the idle measurement
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive_duration)]
    idle_time: Duration,
    /// Consumers for the idle measurement
    #[arg(long, value_name = "N", default_value = "1000", value_parser = consumers)]
    idle_consumers: usize,
    /// Measure only these [default: throughput, latency and burst; for a stream, throughput and latency; with --work,
    /// throughput; with --overflow spill, burst]
    #[arg(long, value_name = "WORD,…", value_delimiter = ',', value_enum)]
    only: Vec<Section>,
    /// Memory for waiting messages in the group [default: 256MiB; with --overflow spill, 8MiB]
    #[arg(long, value_name = "SIZE", value_parser = buffer)]
    buffer: Option<usize>,
    /// Allow bench to write to your server and put it under full load
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print the report as JSON, with all figures, or write it to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) json: Option<PathBuf>,
    /// Print the report as CSV, one row for each run, or write it to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) csv: Option<PathBuf>,
    /// Print the report as Markdown, or write it to a file
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub(crate) markdown: Option<PathBuf>,
    /// Draw throughput and latency as an SVG file
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Earlier report in JSON to compare with; exit code 99 if throughput fell
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// How much throughput may fall
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    pub(crate) tolerance: f64,
    // Last, because its heading applies to all options below it.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

impl BenchArgs {
    /// The plan that the options describe.
    ///
    /// # Errors
    /// If two options contradict each other.
    pub(crate) fn plan(&self) -> anyhow::Result<Plan> {
        let payload_bytes = self.payload_bytes.unwrap_or(Payload::SHORTEST);
        let defaults = Defaults::of(self.source, self.overflow);
        let buffer = self.buffer.unwrap_or(defaults.buffer);
        if payload_bytes > buffer {
            let text = format!(
                "--payload-bytes: messages of {payload_bytes} bytes do not fit into a --buffer of {buffer} bytes"
            );
            bail!(Coded { code: exit::USAGE, text });
        }
        let micros =
            |time: Option<Duration>| time.map(|time| time.as_micros().try_into().unwrap_or(u64::MAX));
        let given = Work { wait_us: micros(self.work), compute_us: micros(self.work_cpu) };
        let sections = self.sections(given)?;
        let runs = self.runs_of(&sections)?;
        let work = if given.is_none() { defaults.work } else { given };
        let mut consumers =
            if self.consumers.is_empty() { defaults.consumers.to_vec() } else { self.consumers.clone() };
        consumers.sort_unstable();
        consumers.dedup();
        Ok(Plan {
            sections,
            source: self.source,
            overflow: self.overflow,
            latency_consumers: self.latency_consumers.unwrap_or_else(|| for_latency(&consumers)),
            consumers,
            nodes: self.sharded.nodes(),
            shards: self.sharded.shards,
            rate: self.sharded.rate,
            messages: self.messages,
            runs,
            payload_bytes,
            work,
            rates: self.rates.clone(),
            latency_time: self.latency_time,
            buffer,
            idle_time: self.idle_time,
            idle_consumers: self.idle_consumers,
        })
    }

    /// The number of runs for each throughput. Everything else is measured once.
    ///
    /// # Errors
    /// If it is given and no throughput is measured.
    fn runs_of(&self, sections: &[Section]) -> anyhow::Result<usize> {
        const RUNS: usize = 3;
        match self.runs {
            runs if sections.contains(&Section::Throughput) => Ok(runs.unwrap_or(RUNS)),
            None => Ok(1),
            Some(_) => refuse(
                "--runs: only throughput is measured several times; leave it out, or add throughput to --only",
            ),
        }
    }

    /// The kinds of measurement.
    ///
    /// # Errors
    /// If one does not apply to the source or the overflow.
    fn sections(&self, work: Work) -> anyhow::Result<Vec<Section>> {
        let (default, impossible): (&[Section], &[(Section, &str)]) = match (self.source, self.overflow) {
            (Source::Stream, Overflow::Spill) => refuse(
                "--overflow spill: a stream needs no spill, because unread entries wait in it; leave it out",
            )?,
            (Source::Stream, Overflow::Drop) => (
                &[Section::Throughput, Section::Latency],
                &[
                    (Section::Burst, "a stream is only read as fast as it is processed, so it has no burst"),
                    (Section::Stuck, "a stuck group stops reading a stream"),
                ],
            ),
            (Source::Sharded, _) => {
                self.check_sharded()?;
                (&[Section::Throughput], &[])
            }
            (Source::Pubsub, Overflow::Spill) => (&[Section::Burst], &[]),
            (Source::Pubsub, Overflow::Drop) => {
                (&[Section::Throughput, Section::Latency, Section::Burst], &[])
            }
        };
        if let Some((_, why)) = impossible.iter().find(|(section, _)| self.only.contains(section)) {
            refuse(&format!("--only: {why}; leave it out, or use --source pubsub"))?;
        }
        if self.overflow == Overflow::Spill && self.only.iter().any(|section| *section != Section::Burst) {
            refuse("--only: --overflow spill measures only a burst; leave one of them out")?;
        }
        Ok(match &self.only[..] {
            [] if work.is_none() || self.overflow == Overflow::Spill => default.to_vec(),
            [] => vec![Section::Throughput],
            only => only.to_vec(),
        })
    }
}

fn refuse<T>(text: &str) -> anyhow::Result<T> {
    bail!(Coded { code: exit::USAGE, text: text.to_owned() })
}

/// Defaults that depend on the source and the overflow.
struct Defaults {
    consumers: &'static [usize],
    work: Work,
    buffer: usize,
}

impl Defaults {
    const fn of(source: Source, overflow: Overflow) -> Self {
        let nothing = Work { wait_us: None, compute_us: None };
        match overflow {
            Overflow::Drop if matches!(source, Source::Sharded) => {
                Self { consumers: &[1], work: nothing, buffer: 256 << 20 }
            }
            Overflow::Drop => Self { consumers: &[1, 2, 4, 8], work: nothing, buffer: 256 << 20 },
            // Slower than the load, so that the buffer overflows.
            Overflow::Spill => {
                Self { consumers: &[64], work: Work { wait_us: Some(1000), ..nothing }, buffer: 8 << 20 }
            }
        }
    }
}

/// 4 consumers, or the largest smaller number that is measured.
fn for_latency(consumers: &[usize]) -> usize {
    const PREFERRED: usize = 4;
    let below = consumers.iter().copied().filter(|consumers| *consumers <= PREFERRED).max();
    below.or(consumers.first().copied()).unwrap_or(PREFERRED)
}

fn consumers(text: &str) -> Result<usize, String> {
    within(text, 1..=10_000)
}

fn runs(text: &str) -> Result<usize, String> {
    within(text, 1..=1000)
}

fn within(text: &str, range: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{text:?} is not a number from {} to {}", range.start(), range.end()))
}

fn work(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(60);
    match duration(text)? {
        time if (Duration::from_micros(1)..=LONGEST).contains(&time) => Ok(time),
        _ => Err("the work of a message takes from 1us to 1m; write it like 10ms".to_owned()),
    }
}

fn buffer(text: &str) -> Result<usize, String> {
    match size(text)? {
        bytes if bytes >= 64 << 10 => Ok(bytes),
        _ => Err("too small for a batch of messages; use 64KiB or more".to_owned()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    let part = number.map(|number| number / 100.0).filter(|part| (0.0..1.0).contains(part));
    part.ok_or_else(|| format!("{text:?} is not a percentage from 0% to below 100%; write it like 10%"))
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

    pub(super) fn args(options: &str) -> Result<BenchArgs, String> {
        Program::try_parse_from([&["bench"], &options.split_whitespace().collect::<Vec<_>>()[..]].concat())
            .map(|program| program.bench)
            .map_err(|error| error.to_string())
    }

    pub(super) fn plan(options: &str) -> Plan {
        args(options).unwrap().plan().unwrap()
    }

    #[test]
    fn the_default_measures_throughput_latency_and_a_burst_of_a_million_messages() {
        let plan = plan("");
        assert_eq!(plan.sections, [Section::Throughput, Section::Latency, Section::Burst]);
        assert_eq!((plan.consumers, plan.messages, plan.runs), (vec![1, 2, 4, 8], 1_000_000, 3));
        assert_eq!((plan.latency_consumers, plan.payload_bytes, plan.buffer), (4, 53, 256 << 20));
        assert_eq!(plan.rates[3], Rate::Share(2.0));
    }

    #[test]
    fn a_stream_has_no_burst_and_a_spill_has_only_a_burst() {
        let stream = plan("--source stream");
        assert_eq!(stream.sections, [Section::Throughput, Section::Latency]);
        assert_eq!((stream.source, stream.consumers), (Source::Stream, vec![1, 2, 4, 8]));
        let spill = plan("--overflow spill");
        assert_eq!((&spill.sections[..], &spill.consumers[..]), (&[Section::Burst][..], &[64][..]));
        assert_eq!((spill.work.wait_us, spill.buffer, spill.messages), (Some(1000), 8 << 20, 1_000_000));
        let given = plan("--overflow spill --work-cpu 50us --buffer 1MiB --consumers 2,3");
        assert_eq!((given.work.wait_us, given.work.compute_us), (None, Some(50)));
        assert_eq!((given.buffer, given.consumers), (1 << 20, vec![2, 3]));
        for (options, hint) in [
            ("--source stream --overflow spill", "needs no spill"),
            ("--source stream --only burst", "--source pubsub"),
            ("--source stream --only idle,stuck", "stops reading"),
            ("--overflow spill --only throughput", "only a burst"),
            ("--overflow spill --runs 5", "--runs: only throughput"),
            ("--only burst --runs 5", "--runs: only throughput"),
            ("--only latency,idle --runs 1", "--runs: only throughput"),
        ] {
            let error = args(options).unwrap().plan().unwrap_err().to_string();
            assert!(error.contains(hint), "{options}: {error}");
        }
    }

    #[test]
    fn with_work_only_throughput_is_measured_unless_more_is_asked_for() {
        assert_eq!(plan("--work 10ms").sections, [Section::Throughput]);
        assert_eq!(plan("--work-cpu 50us --only latency").sections, [Section::Latency]);
        let work = plan("--work 10ms --work-cpu 50us").work;
        assert_eq!((work.wait_us, work.compute_us), (Some(10_000), Some(50)));
    }

    #[test]
    fn only_throughput_is_measured_several_times() {
        let runs = |options: &str| plan(options).runs;
        assert_eq!((runs("--only throughput"), runs("--only burst,throughput --runs 5")), (3, 5));
        assert_eq!((runs("--only burst"), runs("--overflow spill")), (1, 1));
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
            ("--latency-time 0s", "use 1s or more"),
            ("--idle-time 0s", "use 1s or more"),
            ("--idle-consumers 10001", "from 1 to 10000"),
            ("--buffer 1KiB", "64KiB or more"),
            ("--tolerance 200%", "write it like 10%"),
            ("--only speed", "throughput, latency, burst, idle, stuck"),
        ] {
            let error = args(options).unwrap_err();
            assert!(error.contains(hint), "{options}: {error}");
        }
        let error = args("--payload-bytes 200000 --buffer 64KiB").unwrap().plan().unwrap_err();
        assert!(error.to_string().contains("do not fit into"), "{error}");
    }
}
