//! `publish`: a load generator.
//!
//! ```text
//!   args ──► load      what to publish, and when to end
//!              │
//!   pace ──► publisher ──► lines ──► window ──► connections
//!   (bursts,   │  deals     (what     (pipelines   (one to each node that serves a
//!    even:     │  messages   waits     without      shard; where nobody is known to,
//!    metronome)│  to their   for its   an answer    that is found out in the background)
//!              │  shards     node)     yet)
//!              │      ▲                  │
//!              │      └── what moved ◄───┘
//!              │  target: a channel, a stream, or their shards (deal)
//!              ▼
//!            summary    what the server confirmed
//! ```

mod args;
mod connections;
mod deal;
mod failure;
mod lines;
mod load;
mod metronome;
mod pace;
mod payload;
mod progress;
mod publisher;
mod summary;
mod target;
mod window;

use std::process::ExitCode;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

pub(crate) use args::{PublishArgs, payload_bytes, some_time};
pub(crate) use connections::Connections;
pub(crate) use failure::explain;
pub(crate) use load::Load;
pub(crate) use pace::{Pace, Rate};
pub(crate) use payload::Payload;
pub(crate) use publisher::publish;
pub(crate) use target::{Sharding, Target};

use progress::Progress;
use summary::Summary;

use crate::exit;
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::{finish, say};

/// Publishes, and prints how many messages the server confirmed: also after a signal or an error.
///
/// Exit code 1 if messages were sent and never answered, or could not be published.
pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let (address, tls) = args.connection.resolve()?;
    let load = args.load()?;
    let stop = Stop::on_signals()?;
    let connections = tokio::select! {
        connections = Connections::open(&address, &tls, &load.target) => connections?,
        () = stop.asked() => {
            let nothing = Summary { messages: 0, elapsed: Duration::ZERO };
            finish(Stdout::new(), line(nothing, args.json), &stop).await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let confirmed = AtomicU64::new(0);
    let progress = Progress::new(load.total());
    let published = tokio::select! {
        published = publish(connections, &load, &stop, &confirmed, |_| ()) => published,
        never = progress.follow(&confirmed) => match never {},
    };
    drop(progress);

    let summary = Summary { messages: published.messages, elapsed: published.elapsed };
    finish(Stdout::new(), line(summary, args.json), &stop).await;
    if published.unheard > 0 {
        say(format_args!(
            "{} of them reached nobody: no group was subscribed{} then.",
            published.unheard,
            match load.target.sharding {
                Some(_) => " to their shard (--channel, --shards and --shard-tags have to be the group's)",
                None => "",
            }
        ));
    }
    if published.unanswered > 0 {
        say(format_args!(
            "{} more were sent, and the server did not answer: it may have published them or not.",
            published.unanswered
        ));
    }
    if published.not_taken > 0 {
        say(format_args!(
            "{} more are not published: nobody served them before the end.",
            published.not_taken
        ));
    }
    match published.failure {
        Some(failure) => Err(explain(&address.to_string(), &load.target, failure)),
        None if published.unanswered + published.not_taken > 0 => Ok(exit::FAILED.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn line(summary: Summary, json: bool) -> String {
    if json { summary.to_json().to_string() } else { summary.to_string() }
}
