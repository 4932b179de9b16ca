//! `publish`: publishes the given messages. They go through [`crate::publisher`].

mod args;
mod input;

use std::process::ExitCode;

pub(crate) use self::args::PublishArgs;

use self::input::Messages;
use crate::publisher::{Connections, Failure, Progress, Published, Publisher, Summary, Uncertain, report};
use crate::stop::Stop;

/// Publishes the messages and prints the summary, also after a signal or an error.
///
/// Exit code 1 if messages that were read are unconfirmed or were not published.
pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let (address, tls) = args.connection.resolve()?;
    let target = args.target.target()?;
    let stop = Stop::on_signals()?;
    let input = args.input();
    // A progress bar would overwrite what the user types.
    let progress = if input.is_typed() { Progress::hidden() } else { Progress::new(input.total()) };
    let mut messages = input.open()?;
    let published = tokio::select! {
        connections = Connections::open(&address, &tls, &target) => {
            let mut publisher = Publisher::new(connections?, &target, Uncertain::Resend, &stop, &progress);
            let publishing = async {
                let outcome = publish(&mut publisher, &mut messages).await;
                publisher.finish(outcome, None).await
            };
            tokio::select! {
                published = publishing => published,
                never = progress.follow() => match never {},
            }
        }
        () = stop.asked() => Published { summary: Summary::default(), failure: None },
    };
    drop(progress);
    report(published, &target, &address.to_string(), args.json, &stop).await
}

/// Publishes until there are no more messages or a stop is requested.
async fn publish(publisher: &mut Publisher<'_>, messages: &mut Messages) -> Result<(), Failure> {
    while publisher.room(None).await? {
        let Some(Some(read)) = publisher.wait(messages.next()).await? else { return Ok(()) };
        for message in read? {
            publisher.add(message)?;
        }
        publisher.pump();
    }
    Ok(())
}
