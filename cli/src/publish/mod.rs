//! `publish`: a load generator.
//!
//! ```text
//!   args ──► load      what to publish, and when to end
//!              │
//!   pace ──► publisher ──► window ──► the connection
//!   (bursts,   │  packs       (pipelines without an answer yet,
//!    even:     │  payloads     each reply is looked at)
//!    metronome)│  for its target: a channel or a stream
//!              ▼
//!            summary    what the server confirmed
//! ```

mod args;
mod failure;
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
pub(crate) use failure::explain;
pub(crate) use load::Load;
pub(crate) use pace::{Pace, Rate};
pub(crate) use payload::Payload;
pub(crate) use publisher::{Failure, publish};
pub(crate) use target::Target;

use progress::Progress;
use redis_consumer_group::client::connect;
use summary::Summary;

use crate::exit;
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::{finish, say};

/// Publishes, and prints how many messages the server confirmed: also after a signal or an error.
///
/// Exit code 1 if messages were sent and never answered.
pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let (address, tls) = args.connection.resolve()?;
    let load = args.load();
    let stop = Stop::on_signals()?;
    let refused = |error| explain(&address.to_string(), &load.target, &error);
    let connection = tokio::select! {
        connection = connect(&address, &tls) => connection?,
        () = stop.asked() => {
            let nothing = Summary { messages: 0, elapsed: Duration::ZERO };
            finish(Stdout::new(), line(nothing, args.json), &stop).await;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let confirmed = AtomicU64::new(0);
    let progress = Progress::new(load.total());
    let published = tokio::select! {
        published = publish(connection, &load, &stop, &confirmed, |_| ()) => published,
        never = progress.follow(&confirmed) => match never {},
    };
    drop(progress);

    let summary = Summary { messages: published.messages, elapsed: published.elapsed };
    finish(Stdout::new(), line(summary, args.json), &stop).await;
    if published.unanswered > 0 {
        say(format_args!(
            "{} more were sent, and the server did not answer: it may have published them or not.",
            published.unanswered
        ));
    }
    match published.failure {
        Some(Failure::Redis(error)) => Err(refused(error)),
        Some(failure) => Err(failure.into()),
        None if published.unanswered > 0 => Ok(exit::FAILED.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn line(summary: Summary, json: bool) -> String {
    if json { summary.to_json().to_string() } else { summary.to_string() }
}
