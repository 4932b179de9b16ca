//! The options of `load`.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;

use super::pace::{Pace, Rate};
use super::payload::Payload;
use super::plan::Plan;
use crate::connection::ConnectionArgs;
use crate::options::{OptionError, Origin, duration, positive_duration};
use crate::publisher::TargetArgs;

/// Publish generated messages: a load generator
///
/// Example: redis-consumer-group load --redis-addr localhost:6379 --rate 2000 --duration 10s
///
/// Each message is a JSON object {"message_id":"<uuid>"} with a unique id. Without --rate, messages come in bursts: --batch
/// messages at full speed, then a random --pause. load ends after --count messages or --duration, whichever comes first.
///
/// When a connection breaks, load reconnects. No message is published twice: messages that were sent but not answered
/// count as unconfirmed. With --rate, messages that become due during an outage are published after it; if --duration ends
/// first, they count as not published. At the end, load tries for 30 seconds to publish the remaining messages; after
/// SIGINT or SIGTERM, for 10 seconds; a second signal stops it at once. The exit code is 1 if a message was not published,
/// or not confirmed.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// End after this many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time [default: 10m, no limit with --count]
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    duration: Option<Duration>,
    /// Messages per second, evenly spread instead of in bursts
    #[arg(long, value_name = "R/s", conflicts_with_all = ["batch", "pause"])]
    rate: Option<Rate>,
    /// Messages per burst
    #[arg(long, value_name = "N", default_value = "80000", value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Time between two bursts, or the range of a random one
    #[arg(long, value_name = "TIME[..TIME]", default_value = "100ms..500ms", value_parser = pause)]
    pause: RangeInclusive<Duration>,
    /// Approximate size of a message, in bytes; a member "padding" fills it up
    #[arg(long, value_name = "N", value_parser = payload_bytes)]
    payload_bytes: Option<usize>,
    /// Print the summary as a JSON object
    #[arg(long)]
    pub(super) json: bool,
    // Last, because the heading of its options also applies to the options after it.
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl LoadArgs {
    /// The plan that the options describe. Each was checked when it was read.
    ///
    /// # Errors
    /// If the shards are invalid, or no message has the member of `--shard-by`.
    pub(crate) fn plan(&self) -> Result<Plan, OptionError> {
        const DURATION: Duration = Duration::from_secs(600);
        let pace = match self.rate {
            Some(rate) => Pace::Even(rate),
            None => Pace::Bursts { batch: self.batch, pause: self.pause.clone() },
        };
        let target = self.target.target()?;
        let by = target.sharding.as_ref().and_then(|sharding| sharding.by.as_deref());
        if let Some(by) = by
            && by != "message_id"
            && !(by == "padding" && self.payload_bytes.is_some_and(|bytes| bytes > Payload::SHORTEST))
        {
            let problem = format!(
                "the messages have no member {by:?}; use message_id, or padding together with --payload-bytes"
            );
            return Err(OptionError { origin: Origin::Flag("shard-by"), problem });
        }
        Ok(Plan {
            target,
            payload_bytes: self.payload_bytes.unwrap_or(Payload::SHORTEST),
            pace,
            count: self.count,
            duration: self.duration.or(self.count.is_none().then_some(DURATION)),
        })
    }
}

fn pause(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let range = duration(shortest)?..=duration(longest)?;
    if range.is_empty() {
        return Err(format!("the range is reversed; write it like {longest}..{shortest}"));
    }
    Ok(range)
}

/// The size of a message in bytes.
pub(crate) fn payload_bytes(text: &str) -> Result<usize, String> {
    /// The default limit of Redis (`proto-max-bulk-len`).
    const LONGEST: usize = 512 << 20;
    let bytes = text.parse().map_err(|_| "it is not a number of bytes; write it like 1024".to_owned())?;
    if (Payload::SHORTEST..=LONGEST).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("a message can have {} to {LONGEST} bytes", Payload::SHORTEST))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::publisher::Target;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn load(options: &str) -> Result<Plan, String> {
        Program::try_parse_from([&["load"], &options.split_whitespace().collect::<Vec<_>>()[..]].concat())
            .map_err(|error| error.to_string())
            .and_then(|program| program.load.plan().map_err(|error| error.to_string()))
    }

    #[test]
    fn the_default_is_bursts_for_ten_minutes() {
        assert_eq!(
            load("").unwrap(),
            Plan {
                target: Target::channel("messages:published"),
                payload_bytes: 53,
                pace: Pace::Bursts {
                    batch: 80_000,
                    pause: Duration::from_millis(100)..=Duration::from_millis(500)
                },
                count: None,
                duration: Some(Duration::from_secs(600)),
            }
        );
    }

    #[test]
    fn a_count_alone_has_no_end_in_time() {
        assert_eq!(load("--count 5").unwrap().duration, None);
        assert_eq!(load("--count 5 --duration 1s").unwrap().duration, Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_single_pause_is_a_range_of_one() {
        let pause = |text: &str| match load(&format!("--pause {text}")).unwrap().pace {
            Pace::Bursts { pause, .. } => pause,
            Pace::Even(_) => unreachable!(),
        };
        assert_eq!(pause("0ms"), Duration::ZERO..=Duration::ZERO);
        assert_eq!(pause("0"), Duration::ZERO..=Duration::ZERO);
        assert_eq!(pause("1s..1m"), Duration::from_secs(1)..=Duration::from_secs(60));
    }

    #[test]
    fn the_channel_may_be_called_the_input_of_the_group() {
        assert_eq!(load("--input a:b").unwrap().target, Target::channel("a:b"));
    }

    #[test]
    fn the_name_is_the_same_for_a_channel_and_a_stream() {
        let target = |options| load(options).unwrap().target;
        assert_eq!(target("--to channel"), Target::channel("messages:published"));
        assert_eq!(target("--to stream"), Target::stream("messages:published"));
        assert_eq!(target("--to stream --input a:b"), Target::stream("a:b"));
    }

    #[test]
    fn shards_have_their_names_and_a_command_of_their_own() {
        let target = |options| load(options).unwrap().target;
        let shards = target("--shards 3");
        assert_eq!((shards.names().len(), shards.command()), (3, "SPUBLISH"));
        let some = target("--to stream --input a --shards 9 --shard-tags --only-shards 0,8");
        assert_eq!((some.names(), some.command()), (vec!["a:{0}".into(), "a:{8}".into()], "XADD"));
        let by = target("--shards 2 --shard-by padding --payload-bytes 100").sharding.unwrap().by;
        assert_eq!(by.as_deref(), Some("padding"));
    }

    #[test]
    fn each_refusal_says_what_to_write_instead() {
        for (options, hint) in [
            ("--rate 0", "above 0"),
            ("--rate fast", "write it like 2000"),
            ("--rate 5 --batch 5", "cannot be used with"),
            ("--rate 5 --pause 5ms", "cannot be used with"),
            ("--batch 0", "0 is not in 1.."),
            ("--count 0", "0 is not in 1.."),
            ("--pause 500ms..100ms", "write it like 100ms..500ms"),
            ("--pause soon", "is not a duration (for example 3s, 250ms)"),
            ("--duration 0s", "use 1s or more"),
            ("--duration 300y", "longer than a year"),
            ("--payload-bytes 7", "53 to"),
            ("--channel=", "the name is empty"),
            ("--shards 0", "use 1 to 16384"),
            ("--shards 4 --only-shards 9", "numbered 0 to 3"),
            ("--shards 4 --only-shards x", "write them like 0-7"),
            ("--shards 4 --shard-tags --input {a}", "name it without"),
            ("--shards 4 --shard-by user_id", "use message_id"),
            ("--shards 4 --shard-by padding", "together with --payload-bytes"),
            ("--shards 4 --only-shards 1 --shard-by message_id", "cannot be used with"),
            ("--shard-tags", "--shards <N>"),
            ("--to list", "possible values: channel, stream"),
        ] {
            let error = load(options).unwrap_err();
            assert!(error.contains(hint), "{options}: {error}");
        }
    }
}
