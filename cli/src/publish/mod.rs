//! `publish`: publishes the given messages. They go through [`crate::publisher`].

mod args;
mod input;

use std::process::ExitCode;

pub(crate) use self::args::PublishArgs;

use self::input::Messages;
use crate::publisher::{Connections, Failure, Progress, Published, Publisher, Summary, Uncertain, report};
use crate::stop::Stop;
use crate::talk::say;

/// Publishes the messages and prints the summary, also after a signal or an error.
///
/// Exit code 1 if messages that were read are unconfirmed or were not published. After a stop, those that were read are still
/// published.
pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<ExitCode> {
    let (address, tls) = args.connection.resolve()?;
    let target = args.target.target()?;
    let stop = Stop::on_signals()?;
    let input = args.input();
    let (total, is_typed) = (input.total(), input.is_typed());
    // A progress bar would overwrite what the user types.
    let progress = if is_typed { Progress::hidden() } else { Progress::new(total) };
    let opened = input.open()?;
    let published = tokio::select! {
        connections = Connections::open(&address, &tls, &target) => {
            let mut publisher = Publisher::new(connections?, &target, Uncertain::Resend, &stop, &progress);
            if is_typed {
                say("reading messages from stdin, one per line; press Ctrl-D to end");
            }
            let mut messages = opened.read();
            let publishing = async {
                let outcome = publish(&mut publisher, &mut messages).await;
                publisher.finish(outcome, None).await
            };
            tokio::select! {
                published = publishing => published,
                never = progress.follow() => match never {},
            }
        }
        // Nothing was read.
        () = stop.asked() => Published {
            summary: Summary { not_published: total.unwrap_or(0), ..Summary::default() },
            failure: None,
        },
    };
    drop(progress);
    report(published, &target, &address.to_string(), args.json, &stop).await
}

/// Publishes until there are no more messages or a stop is requested. Messages that were read by then are accepted too;
/// after a failure they are counted as not published.
async fn publish(publisher: &mut Publisher<'_>, messages: &mut Messages) -> Result<(), Failure> {
    let mut outcome = publish_while_read(publisher, messages).await;
    messages.stop();
    while let Some(read) = messages.next().await {
        match (&outcome, read) {
            (Ok(()), read) => outcome = add(publisher, read),
            (Err(_), Ok(read)) => publisher.leave_out(read.len() as u64),
            // Only the first failure is told.
            (Err(_), Err(_)) => {}
        }
    }
    outcome
}

async fn publish_while_read(publisher: &mut Publisher<'_>, messages: &mut Messages) -> Result<(), Failure> {
    while publisher.room(None).await? {
        let Some(Some(read)) = publisher.wait(messages.next()).await? else { return Ok(()) };
        add(publisher, read)?;
        publisher.pump();
    }
    Ok(())
}

fn add(publisher: &mut Publisher<'_>, read: Result<Vec<Vec<u8>>, Failure>) -> Result<(), Failure> {
    let mut read = read?.into_iter();
    while let Some(message) = read.next() {
        if let Err(failure) = publisher.add(message) {
            publisher.leave_out(1 + read.len() as u64);
            return Err(failure);
        }
    }
    Ok(())
}
