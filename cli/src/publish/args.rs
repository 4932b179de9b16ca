//! The options of `publish`.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;
use redis_consumer_group::{Error, ShardSet, Shards};
use uuid::Uuid;

use super::load::Load;
use super::pace::{Pace, Rate};
use super::payload::Payload;
use super::target::{Sharding, Target, To};
use crate::connection::ConnectionArgs;
use crate::options::{OptionError, Origin};

/// Publish messages with unique ids: a load generator
///
/// Each message is a JSON object {"message_id":"<uuid>"}, or with --to stream an entry that has its members
/// as fields. Without --rate they come in bursts: --batch messages at full speed, then a random --pause. It
/// ends after --count messages or --duration, whichever comes first.
#[derive(Debug, Clone, Args)]
pub(crate) struct PublishArgs {
    /// What takes the messages
    #[arg(long, value_enum, default_value = "channel")]
    to: To,
    /// Channel to publish to, or with --to stream the stream
    #[arg(
        long,
        value_name = "NAME",
        visible_alias = "input",
        default_value = "messages:published",
        value_parser = name
    )]
    channel: String,
    /// Publish to so many shards by turns, NAME:0 and so on: sharded channels of a cluster, or with --to stream streams
    #[arg(long, value_name = "N")]
    shards: Option<u32>,
    /// Name them NAME:{0} and so on instead
    #[arg(long, requires = "shards")]
    shard_tags: bool,
    /// Publish to these of the shards, as in 0-7 or 0,2,5-9 [default: all]
    #[arg(long, value_name = "SHARDS", requires = "shards")]
    only_shards: Option<ShardSet>,
    /// Choose the shard by this member of a message, message_id or padding, so that equal values come to the same one:
    /// their slot (CLUSTER KEYSLOT) modulo --shards
    #[arg(long, value_name = "MEMBER", requires = "shards", conflicts_with = "only_shards")]
    shard_by: Option<String>,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this time [default: 10m, no limit with --count]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    duration: Option<Duration>,
    /// Messages a second, evenly spread, instead of bursts
    #[arg(long, value_name = "R/s", conflicts_with_all = ["batch", "pause"])]
    rate: Option<Rate>,
    /// Messages of one burst
    #[arg(long, value_name = "N", default_value = "80000", value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// Time between two bursts, or the range of a random one
    #[arg(long, value_name = "TIME[..TIME]", default_value = "100ms..500ms", value_parser = pause)]
    pause: RangeInclusive<Duration>,
    /// About how many bytes a message has as a JSON object; a field is added to fill them
    #[arg(long, value_name = "N", value_parser = payload_bytes)]
    payload_bytes: Option<usize>,
    /// Print the number as a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    // Last, because the heading of its options holds for what follows.
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

impl PublishArgs {
    /// The plan that the options describe. Each was checked when it was read.
    ///
    /// # Errors
    /// Shards that cannot be, or a member that no message has.
    pub(crate) fn load(&self) -> Result<Load, OptionError> {
        const DURATION: Duration = Duration::from_secs(600);
        let pace = match self.rate {
            Some(rate) => Pace::Even(rate),
            None => Pace::Bursts { batch: self.batch, pause: self.pause.clone() },
        };
        let payload_bytes = self.payload_bytes.unwrap_or(Payload::SHORTEST);
        let sharding = self.sharding(payload_bytes)?;
        Ok(Load {
            target: Target { to: self.to, name: self.channel.clone(), sharding },
            payload_bytes,
            pace,
            count: self.count,
            duration: self.duration.or(self.count.is_none().then_some(DURATION)),
        })
    }

    fn sharding(&self, payload_bytes: usize) -> Result<Option<Sharding>, OptionError> {
        let Some(count) = self.shards else { return Ok(None) };
        let wrong = |option, problem| OptionError { origin: Origin::Flag(option), problem };
        let mut shards = Shards::new(count);
        (shards.tags, shards.only) = (self.shard_tags, self.only_shards.clone());
        shards.validate([("channel", self.channel.as_str())]).map_err(|error| match error {
            Error::Config { option, problem } => wrong(option, problem),
            error => wrong("shards", error.to_string()),
        })?;
        if let Some(by) = &self.shard_by
            && Payload::new(payload_bytes).member(by, Uuid::nil()).is_none()
        {
            let problem = format!(
                "the messages have no member {by:?}; take message_id, or padding together with --payload-bytes"
            );
            return Err(wrong("shard-by", problem));
        }
        Ok(Some(Sharding { shards, by: self.shard_by.clone() }))
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("the name is empty; give one".to_owned()) } else { Ok(text.to_owned()) }
}

fn time(text: &str) -> Result<Duration, String> {
    /// Longer than anybody waits, and short enough to be added to any clock.
    const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
    // A plain 0 needs no unit.
    let time = if text == "0" {
        Duration::ZERO
    } else {
        humantime::parse_duration(text)
            .map_err(|error| format!("{text:?} is no time ({error}); write it like 100ms, 2s or 10m"))?
    };
    if time > LONGEST { Err("it is longer than a year; take less".to_owned()) } else { Ok(time) }
}

/// A time, but not none at all.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("nothing can be published in no time; take 1s or more".to_owned()),
        time => Ok(time),
    }
}

fn pause(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (shortest, longest) = text.split_once("..").unwrap_or((text, text));
    let range = time(shortest)?..=time(longest)?;
    if range.is_empty() {
        return Err(format!("the range is reversed; write it like {longest}..{shortest}"));
    }
    Ok(range)
}

/// How many bytes a message may have.
pub(crate) fn payload_bytes(text: &str) -> Result<usize, String> {
    /// What Redis takes by default (`proto-max-bulk-len`).
    const LONGEST: usize = 512 << 20;
    let bytes = text.parse().map_err(|_| "it is no number of bytes; write it like 1024".to_owned())?;
    if (Payload::SHORTEST..=LONGEST).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("a message has {} to {LONGEST} bytes", Payload::SHORTEST))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        publish: PublishArgs,
    }

    fn load(options: &str) -> Result<Load, String> {
        Program::try_parse_from([&["publish"], &options.split_whitespace().collect::<Vec<_>>()[..]].concat())
            .map_err(|error| error.to_string())
            .and_then(|program| program.publish.load().map_err(|error| error.to_string()))
    }

    #[test]
    fn the_default_is_bursts_for_ten_minutes() {
        assert_eq!(
            load("").unwrap(),
            Load {
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
            ("--pause soon", "write it like 100ms"),
            ("--duration 0s", "take 1s or more"),
            ("--duration 300y", "longer than a year"),
            ("--payload-bytes 7", "53 to"),
            ("--channel=", "the name is empty"),
            ("--shards 0", "take 1 to 16384"),
            ("--shards 4 --only-shards 9", "numbered 0 to 3"),
            ("--shards 4 --only-shards x", "write them like 0-7"),
            ("--shards 4 --shard-tags --input {a}", "name it without"),
            ("--shards 4 --shard-by user_id", "take message_id"),
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
