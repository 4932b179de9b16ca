//! Sends a transaction and receives its answers.

use std::io::ErrorKind;

use super::replies::Executed;
use crate::redis::connection::Connection;
use crate::redis::fault::Fault;
use crate::sink::target::Target;
use crate::slot::beside;

/// The answers to a transaction whose commands were all queued.
pub(super) struct Exchanged {
    pub(super) executed: Executed,
    /// The error of the `WATCH` after it.
    pub(super) watched: Option<String>,
}

/// Sends a transaction, or the rest of one.
pub(super) async fn send(connection: &mut Connection, out: &[u8]) -> Result<(), Fault> {
    match connection.send(out).await {
        Err(silence) if silence.kind() == ErrorKind::TimedOut => Err(silence.into()),
        // A server that rejects the protocol of a commit answers with an error and closes:
        // read the answer before giving up.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Reads the answers to a transaction, up to the one to `WATCH`. `answers`: the number of those before the one to `HSET`.
pub(super) async fn receive(
    connection: &mut Connection,
    target: &Target,
    answers: usize,
) -> Result<Exchanged, Fault> {
    // The answers to `MULTI`, each `XADD` and `HSET`: an error among them aborts the transaction.
    let mut refusal = None;
    let mut left = answers + 2;
    loop {
        left -= connection.skip(b"+QUEUED\r\n", left);
        if left == 0 {
            break;
        }
        left -= 1;
        match connection.receive(|reply| reply.error()).await {
            Ok(None) => {}
            Ok(Some(answer)) => drop(refusal.get_or_insert(answer)),
            Err(end) => return Err(refusal.map_or(end, |answer| refused(target, &answer))),
        }
    }
    let executed = connection.receive_as(|input| Executed::parse(input, answers)).await?;
    let watched = connection.receive(|reply| reply.error()).await?;
    match refusal {
        Some(answer) => Err(refused(target, &answer)),
        None => Ok(Exchanged { executed, watched }),
    }
}

/// The fault that an error reply to a commit means.
pub(super) fn refused(target: &Target, answer: &str) -> Fault {
    target.refused(&needs(target), answer)
}

/// The fault, after a commit that was executed in part: Redis does not roll back, and a repetition would append the
/// other records twice.
pub(super) fn not_repeatable(target: &Target, fault: Fault) -> Fault {
    match fault {
        Fault::Transient(answer) => Fault::Permanent(target.protocol_error(&answer)),
        refused => refused,
    }
}

/// The permissions that commits need, as an ACL rule.
pub(super) fn needs(target: &Target) -> String {
    let more = target.acknowledges.as_ref().map_or_else(String::new, |input| {
        let deletes = if input.deletes { " +xdel +eval +type" } else { "" };
        format!(" +xack +xclaim +exists{deletes} ~{} ~{}", input.stream, beside(&input.stream, "*"))
    });
    format!("+multi +exec +watch +xadd +hget +hset +hincrby ~{} ~{}{more}", target.stream, target.lanes())
}
