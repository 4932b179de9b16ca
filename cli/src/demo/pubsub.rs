//! The demo of a channel: one group, in this process.

use std::pin::pin;

use anyhow::{Context, bail};
use redis_consumer_group::ConsumerGroup;
use uuid::Uuid;

use super::setup::{CONSUMERS, Setup, client, unless_stopped};
use super::tally::Tally;
use super::verdict::{Accounts, Verdict};
use crate::publisher::Target;
use crate::report::{Form, Reporter};
use crate::talk::say;

/// Runs it. `None` if a signal came before the first message.
pub(super) async fn show(mut setup: Setup<'_>) -> anyhow::Result<Option<Verdict>> {
    let starting = ConsumerGroup::from_config(setup.config.clone()).start();
    let Some(started) = unless_stopped(setup.stop, starting).await else { return Ok(None) };
    let mut group = started?;
    let consumers: Vec<_> =
        group.handle().consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
    let (input, output) = (&setup.config.input, setup.config.output.clone());
    say(format_args!("A group of {CONSUMERS} consumers reads {input} and appends to {output}."));
    setup.announce_load();

    let ids = load(&setup, &mut group).await?;
    let ledger = group.shutdown().await.context("the group could not finish")?;
    let tally = Tally::of_stream(&mut setup.connection, &output, &ids, &consumers).await?;
    let (server, client) = (setup.server.binary().to_owned(), client(setup.server.version()));
    Ok(Some(Verdict { tally, accounts: Accounts::OfGroup(ledger), output, server, client }))
}

/// Publishes while the group's progress is reported. Returns the ids of the published messages.
async fn load(setup: &Setup<'_>, group: &mut ConsumerGroup) -> anyhow::Result<Vec<Uuid>> {
    let (mut reports, mut reporter) = (setup.reports(), Reporter::new(Form::Text));
    let mut ids = Vec::new();
    let published = {
        let to = Target::channel(&setup.config.input);
        let mut publishing = pin!(setup.publish_evenly(to, |id| ids.push(id)));
        loop {
            tokio::select! {
                published = &mut publishing => break published,
                ended = group.join() => {
                    ended.context("the group ended during the demo")?;
                    bail!("the group ended during the demo; please report it");
                }
                _ = reports.tick() => {
                    setup.stdout.line(reporter.report(group));
                }
            }
        }
    };
    published.map(|()| ids)
}
