//! Appending without a transaction: `--commit at-least-once`.

use super::Records;
use super::target::{Made, Target};
use crate::redis::cluster::Node;
use crate::redis::connection::Connection;
use crate::redis::fault::Fault;
use crate::redis::resp::command;

/// Plain `XADD` in a pipeline; what came from a stream is acknowledged once all of it is there. What was not confirmed
/// is appended again, so that nothing is lost; what was appended and not confirmed is there twice then.
#[derive(Default)]
pub(super) struct Pipeline {
    connection: Option<Connection>,
    /// Where the input is at another node than the output: the connection there.
    to_input: Option<Connection>,
    /// Which records of the commit under way are not confirmed.
    wanted: Vec<bool>,
    out: Vec<u8>,
}

impl Pipeline {
    /// Takes up the next commit.
    pub(super) fn begin(&mut self, records: &Records) {
        self.wanted.clear();
        self.wanted.resize(records.len(), true);
    }

    pub(super) async fn attempt(&mut self, target: &Target, records: &Records) -> Result<Made, Fault> {
        if records.held().is_some_and(|epoch| epoch.is_over()) && self.wanted.iter().all(|wanted| *wanted) {
            return Ok(Made::Never);
        }
        self.out.clear();
        self.out.shrink_to(4 * Records::MOST_BYTES);
        target.append_some(&mut self.out, records, &self.wanted);
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(target.connect().await?),
        };
        connection.log_in_again(&target.server).await?;
        connection.send(&self.out).await?;
        let mut refusal = None;
        for wanted in self.wanted.iter_mut().filter(|wanted| **wanted) {
            match connection.receive(|reply| reply.error()).await? {
                None => *wanted = false,
                Some(answer) => refusal = Some(answer),
            }
        }
        if refusal.is_none() && target.acknowledging(records) > 0 {
            self.out.clear();
            target.acknowledge(&mut self.out, records);
            let connection = match (target.input_elsewhere(), &mut self.to_input) {
                (None, _) => connection,
                (Some(_), Some(connection)) => connection,
                (Some(server), none) => none.insert(Target::connect_to(&server).await?),
            };
            connection.log_in_again(&target.server).await?;
            connection.send(&self.out).await?;
            for _ in 0..target.acknowledging(records) {
                refusal = refusal.or(connection.receive(|reply| reply.error()).await?);
            }
        }
        match refusal.map(|answer| target.refused(&needs(target), &answer)) {
            None => Ok(Made::Yes),
            Some(Fault::Transient(answer)) => Ok(Made::No(answer)),
            Some(refused) => Err(refused),
        }
    }

    /// The node that the connection leads to, where there are several.
    pub(super) fn node(&self) -> Option<&Node> {
        self.connection.as_ref()?.node()
    }

    /// The connection to the output.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Gives the connections up.
    pub(super) fn disconnect(&mut self) {
        (self.connection, self.to_input) = (None, None);
    }

    /// Has the server look at an append without making it.
    pub(super) async fn rehearse(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = target.connect().await?;
        let mut out = Vec::new();
        command(&mut out, &[b"MULTI"]);
        target.append_for_show(&mut out);
        command(&mut out, &[b"DISCARD"]);
        connection.send(&out).await?;
        connection.expect(&target.server, "MULTI", "+multi +discard").await?;
        let appended = target.looked_at(&mut connection, "XADD", &target.stream).await;
        connection.expect(&target.server, "DISCARD", "+discard").await?;
        appended?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// What an ACL rule must have for the commits.
fn needs(target: &Target) -> String {
    match &target.acknowledges {
        None => format!("+xadd ~{}", target.stream),
        Some(input) => format!("+xadd +xack ~{} ~{}", target.stream, input.stream),
    }
}
