//! The demo of a channel: one group, in this process.

use std::pin::pin;

use anyhow::{Context, bail};
use redis_consumer_group::ConsumerGroup;
use uuid::Uuid;

use super::show::{CONSUMERS, Stage, unless_asked};
use super::tally::Tally;
use super::verdict::{Accounts, Verdict};
use crate::publisher::Target;
use crate::report::{Form, Reporter};
use crate::talk::say;

/// Shows it. `None` when a stop was asked for before the first message.
pub(super) async fn show(mut stage: Stage<'_>) -> anyhow::Result<Option<Verdict>> {
    let starting = ConsumerGroup::from_config(stage.config.clone()).start();
    let Some(started) = unless_asked(stage.stop, starting).await else { return Ok(None) };
    let mut group = started?;
    let consumers: Vec<_> = group.consumers().iter().map(|consumer| consumer.id().to_owned()).collect();
    let (input, output) = (&stage.config.input, stage.config.output.clone());
    say(format_args!("A group of {CONSUMERS} consumers reads {input} and appends to {output}."));
    stage.announce_load();

    let ids = load(&stage, &mut group).await?;
    let ledger = group.shutdown().await.context("the group could not finish")?;
    let tally = Tally::of_stream(&mut stage.connection, &output, &ids, &consumers).await?;
    let server = stage.server.binary().to_owned();
    Ok(Some(Verdict { tally, accounts: Accounts::OfGroup(ledger), output, server }))
}

/// Publishes, and reports what the group does meanwhile. The ids of what was published.
async fn load(stage: &Stage<'_>, group: &mut ConsumerGroup) -> anyhow::Result<Vec<Uuid>> {
    let (mut reports, mut reporter) = (stage.reports(), Reporter::new(Form::Text));
    let mut ids = Vec::new();
    let published = {
        let to = Target::channel(&stage.config.input);
        let mut publishing = pin!(stage.publish_evenly(to, |id| ids.push(id)));
        loop {
            tokio::select! {
                published = &mut publishing => break published,
                ended = group.join() => {
                    ended.context("the group ended in the middle of the demo")?;
                    bail!("the group ended in the middle of the demo; please report that");
                }
                _ = reports.tick() => {
                    stage.stdout.line(reporter.report(group));
                }
            }
        }
    };
    published.map(|()| ids)
}
