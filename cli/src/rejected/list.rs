//! `rejected list`.

use std::process::ExitCode;

use clap::Args;
use redis_consumer_group::EntryId;

use super::entry::Entry;
use super::reasons::Reasons;
use super::streams::{PAGE, Rejected, RejectedStreams, after};
use crate::options::Flags;
use crate::printable::printable;
use crate::stdout::print;
use crate::talk;

/// Show rejected messages, the newest last: when, why, by which consumer and from where
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Show no more than N messages of each stream: the newest, or with --from the first ones
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Begin with the entry with this id, or the next one
    #[arg(long, value_name = "ID")]
    from: Option<EntryId>,
    /// Count the messages for each reason instead
    #[arg(long, conflicts_with_all = ["count", "from"])]
    by_reason: bool,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags<Rejected>,
}

pub(super) async fn run(args: ListArgs) -> anyhow::Result<ExitCode> {
    let mut streams = RejectedStreams::of(&args.flags)?;
    if args.by_reason {
        by_reason(&mut streams, args.json).await?;
    } else {
        list(&mut streams, &args).await?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(streams: &mut RejectedStreams, args: &ListArgs) -> anyhow::Result<()> {
    for key in streams.keys.clone() {
        let most = usize::try_from(args.count).unwrap_or(usize::MAX);
        let shown = match args.from {
            Some(from) => show_from(streams, &key, from, most, args.json).await?,
            None => show_newest(streams, &key, most, args.json).await?,
        };
        let all = streams.length(&key).await?;
        if all == 0 {
            talk::say(format_args!("No rejected messages in {}.", printable(&key)));
        } else {
            let hint = if shown < all { "; --count N shows more, --by-reason counts all" } else { "" };
            talk::say(format_args!("{shown} of {} in {}{hint}.", messages(all), printable(&key)));
        }
    }
    Ok(())
}

async fn show_from(
    streams: &mut RejectedStreams,
    key: &str,
    mut from: EntryId,
    most: usize,
    json: bool,
) -> anyhow::Result<u64> {
    let mut shown = 0;
    while shown < most {
        let page = streams.from(key, from, PAGE.min(most - shown)).await?;
        let Some(last) = page.last() else { break };
        from = after(last.id);
        shown += page.len();
        page.iter().try_for_each(|entry| show(entry, streams.sharded, key, json))?;
    }
    Ok(shown as u64)
}

/// Pages back from the end to find the first entry to show, then shows the entries from there on.
async fn show_newest(
    streams: &mut RejectedStreams,
    key: &str,
    most: usize,
    json: bool,
) -> anyhow::Result<u64> {
    let (mut found, mut first, mut to) = (0, None, "+".to_owned());
    while found < most {
        let page = streams.up_to(key, &to, PAGE.min(most - found)).await?;
        let Some(oldest) = page.last() else { break };
        found += page.len();
        (first, to) = (Some(oldest.id), format!("({}", oldest.id));
    }
    match first {
        Some(first) => show_from(streams, key, first, found, json).await,
        None => Ok(0),
    }
}

async fn by_reason(streams: &mut RejectedStreams, json: bool) -> anyhow::Result<()> {
    let (mut reasons, mut all) = (Reasons::default(), 0);
    for key in streams.keys.clone() {
        let mut from = EntryId::default();
        loop {
            let page = streams.from(&key, from, PAGE).await?;
            let Some(last) = page.last() else { break };
            from = after(last.id);
            all += page.len() as u64;
            page.iter().for_each(|entry| reasons.add(entry));
        }
    }
    print(reasons.lines(json).as_bytes())?;
    let keys = printable(&streams.keys.join(", "));
    match all {
        0 => talk::say(format_args!("No rejected messages in {keys}.")),
        all => talk::say(format_args!("{} in {keys}.", messages(all))),
    }
    Ok(())
}

fn show(entry: &Entry, sharded: bool, key: &str, json: bool) -> anyhow::Result<()> {
    let text = if json { entry.json(key) + "\n" } else { entry.lines(sharded.then_some(key)) };
    print(text.as_bytes())
}

/// `1 rejected message`, `2 rejected messages`.
pub(super) fn messages(count: u64) -> String {
    format!("{count} rejected message{}", if count == 1 { "" } else { "s" })
}
