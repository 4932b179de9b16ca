//! Watches the fencing token of an epoch.
//!
//! The lane checks the token *after* it began to watch it. A takeover deletes the token first. So either the commit
//! comes first, and the acknowledged entries are not there to be taken over; or the deletion does, and the commit does
//! nothing.

use std::sync::Arc;

use super::Transaction;
use crate::epoch::Epoch;
use crate::redis::connection::Connection;
use crate::redis::fault::Fault;
use crate::redis::reply::Reply;
use crate::redis::resp::command;
use crate::sink::target::Target;

impl Transaction {
    /// Whether the connection watches the epoch's token, and the token existed after the watch began.
    pub(super) async fn may_commit(
        &mut self,
        connection: &mut Connection,
        target: &Target,
        epoch: &Arc<Epoch>,
    ) -> Result<bool, Fault> {
        if self.watched.as_ref().is_some_and(|watched| Arc::ptr_eq(watched, epoch)) {
            return Ok(true);
        }
        if let Some(node) = connection.node() {
            epoch.must_be_at(&node.to_string());
        }
        let mut out = Vec::new();
        command(&mut out, &[b"WATCH", epoch.token.as_bytes()]);
        command(&mut out, &[b"EXISTS", epoch.token.as_bytes()]);
        connection.send(&out).await?;
        let needs = format!("+watch +exists ~{}", epoch.token);
        connection.expect(&target.server, "WATCH", &needs).await?;
        let there =
            connection.receive(|reply| reply.error().map_or_else(|| Ok(reply == Reply::Int(1)), Err)).await?;
        match there {
            Ok(true) => self.watched = Some(epoch.clone()),
            Ok(false) => epoch.end("another process considered this one dead"),
            Err(answer) => return Err(target.refused(&needs, &answer)),
        }
        Ok(!epoch.is_over())
    }
}
