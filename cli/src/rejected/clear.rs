//! `rejected clear`.

use std::fmt;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use redis_consumer_group::EntryId;

use super::list::messages;
use super::streams::{PAGE, Rejected, RejectedStreams, after};
use crate::exit;
use crate::options::{Flags, duration};
use crate::printable::printable;
use crate::stdout::print;
use crate::talk;

/// Remove rejected messages: all of them, or some
#[derive(Debug, Args)]
pub(super) struct ClearArgs {
    /// Remove only messages rejected before the entry with this id, or longer ago than this (7d, 12h)
    #[arg(long, value_name = "ID|AGE", conflicts_with = "id")]
    before: Option<Before>,
    /// Remove only the entry with this id. May be given several times
    #[arg(long, value_name = "ID")]
    id: Vec<EntryId>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    flags: Flags<Rejected>,
}

/// A point in the stream.
#[derive(Debug, Clone, Copy)]
enum Before {
    Id(EntryId),
    Age(Duration),
}

/// The entries to remove from a stream.
enum Part {
    Ids(Vec<EntryId>),
    Before(EntryId),
}

pub(super) async fn run(args: ClearArgs) -> anyhow::Result<ExitCode> {
    let mut streams = RejectedStreams::of(&args.flags)?;
    let mut parts = Vec::new();
    let mut all = 0;
    for key in streams.keys.clone() {
        let (part, count) = part(&mut streams, &key, &args).await?;
        all += count;
        parts.push((key, part));
    }
    let keys = printable(&streams.keys.join(", "));
    if all == 0 {
        talk::say(format_args!("Nothing to remove from {keys}."));
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        let question = format!("{} would be removed from {keys} permanently.", messages(all));
        if !io::stdin().is_terminal() {
            talk::say(format_args!("{question} Nothing was removed: use --yes to remove them."));
            return Ok(ExitCode::from(exit::USAGE));
        }
        talk::say(format_args!("{question} Remove them? [y/N]"));
        if !is_agreed()? {
            talk::say("Nothing was removed.");
            return Ok(ExitCode::from(exit::FAILED));
        }
    }
    let mut printed = Ok(());
    for (key, part) in parts {
        let removed = match part {
            Part::Ids(ids) => streams.remove(&key, &ids).await?,
            Part::Before(end) => streams.remove_before(&key, end).await?,
        };
        // Without a reader the rest is removed all the same.
        printed = printed
            .and(print(format!("Removed {} from {}.\n", messages(removed), printable(&key)).as_bytes()));
    }
    printed.map(|()| ExitCode::SUCCESS)
}

/// The entries to remove, and their number. Messages rejected from now on are not among them.
async fn part(streams: &mut RejectedStreams, key: &str, args: &ClearArgs) -> anyhow::Result<(Part, u64)> {
    if !args.id.is_empty() {
        let mut there = Vec::new();
        for id in &args.id {
            if streams.one(key, *id).await?.is_some() && !there.contains(id) {
                there.push(*id);
            }
        }
        let count = there.len() as u64;
        return Ok((Part::Ids(there), count));
    }
    let Some(before) = args.before else {
        let count = streams.length(key).await?;
        let last =
            streams.up_to(key, "+", 1).await?.first().map_or_else(EntryId::default, |last| after(last.id));
        return Ok((Part::Before(last), count));
    };
    let end = before.id();
    let (mut count, mut from) = (0, EntryId::default());
    loop {
        let page = streams.from(key, from, PAGE).await?;
        let older = page.iter().take_while(|entry| entry.id < end).count();
        count += older as u64;
        match page.last() {
            Some(last) if older == page.len() => from = after(last.id),
            _ => return Ok((Part::Before(end), count)),
        }
    }
}

fn is_agreed() -> io::Result<bool> {
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

impl Before {
    fn id(self) -> EntryId {
        match self {
            Self::Id(id) => id,
            Self::Age(age) => {
                let then = SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH);
                let ms = then.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                EntryId { ms: u64::try_from(ms).unwrap_or(u64::MAX), seq: 0 }
            }
        }
    }
}

impl FromStr for Before {
    type Err = NeitherIdNorAge;

    fn from_str(text: &str) -> Result<Self, NeitherIdNorAge> {
        // A bare number could be either.
        let id = text.contains('-').then(|| text.parse().ok()).flatten().map(Self::Id);
        id.or_else(|| duration(text).ok().map(Self::Age)).ok_or_else(|| NeitherIdNorAge(text.to_owned()))
    }
}

/// The text is neither an id nor an age.
#[derive(Debug)]
struct NeitherIdNorAge(String);

impl fmt::Display for NeitherIdNorAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is neither an id (1700000000000-0) nor an age (for example 7d, 12h)", self.0)
    }
}

impl std::error::Error for NeitherIdNorAge {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_the_stream_is_an_id_or_an_age() {
        assert!(matches!(
            "1700000000000-3".parse(),
            Ok(Before::Id(EntryId { ms: 1_700_000_000_000, seq: 3 }))
        ));
        assert!(matches!("7d".parse(), Ok(Before::Age(age)) if age == Duration::from_secs(7 * 86_400)));
        for text in ["", "1700000000000", "yesterday", "-1d", "1-x"] {
            assert!(text.parse::<Before>().is_err(), "{text}");
        }
    }
}
