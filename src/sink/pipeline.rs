//! Appending without a transaction: `--commit at-least-once`.

use super::Records;
use super::target::{Attempted, Target};
use crate::redis::cluster::Node;
use crate::redis::connection::Connection;
use crate::redis::fault::Fault;
use crate::redis::resp::command;

/// Plain `XADD` in a pipeline. Entries of a stream are acknowledged once all records are confirmed. Unconfirmed
/// records are appended again, so nothing is lost, but records whose confirmation was lost are appended twice.
#[derive(Default)]
pub(super) struct Pipeline {
    connection: Option<Connection>,
    /// The connection to the input's node, if that is not the output's.
    to_input: Option<Connection>,
    /// Which records of the commit in flight are not confirmed.
    wanted: Vec<bool>,
    out: Vec<u8>,
}

impl Pipeline {
    /// Starts the next commit.
    pub(super) fn begin(&mut self, records: &Records) {
        self.wanted.clear();
        self.wanted.resize(records.len(), true);
    }

    pub(super) async fn attempt(&mut self, target: &Target, records: &Records) -> Result<Attempted, Fault> {
        if records.held().is_some_and(|epoch| epoch.is_over()) && self.wanted.iter().all(|wanted| *wanted) {
            return Ok(Attempted::Fenced);
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
            None => Ok(Attempted::Committed),
            Some(Fault::Transient(answer)) => Ok(Attempted::NotCommitted(answer)),
            Some(refused) => Err(refused),
        }
    }

    /// The node of the connection, on a cluster or behind sentinels.
    pub(super) fn node(&self) -> Option<&Node> {
        self.connection.as_ref()?.node()
    }

    /// The connection to the output.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Drops both connections.
    pub(super) fn disconnect(&mut self) {
        (self.connection, self.to_input) = (None, None);
    }

    /// Lets the server check an append without executing it.
    pub(super) async fn rehearse(&mut self, target: &Target) -> Result<(), Fault> {
        let mut connection = target.connect().await?;
        let mut out = Vec::new();
        command(&mut out, &[b"MULTI"]);
        target.append_to_check(&mut out);
        command(&mut out, &[b"DISCARD"]);
        connection.send(&out).await?;
        connection.expect(&target.server, "MULTI", "+multi +discard").await?;
        let appended = target.expect_checked(&mut connection, "XADD", &target.stream).await;
        connection.expect(&target.server, "DISCARD", "+discard").await?;
        appended?;
        self.connection = Some(connection);
        Ok(())
    }
}

/// The permissions that commits need, as an ACL rule.
fn needs(target: &Target) -> String {
    match &target.acknowledges {
        None => format!("+xadd ~{}", target.stream),
        Some(input) => format!("+xadd +xack ~{} ~{}", target.stream, input.stream),
    }
}
