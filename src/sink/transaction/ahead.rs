//! Sends the next commit ahead, up to its `EXEC`.
//!
//! While the server executes a commit, it has nothing else to do for the lane. So if the next commit is known, the
//! lane sends it up to its `EXEC` before the answer arrives, and the server queues it:
//!
//! `… EXEC, WATCH lane` | `MULTI, XADD …, HSET lane number N+1` | *the answer to N* | `EXEC, WATCH lane`
//!
//! The `EXEC` follows once commit N is confirmed. Any other answer to N ends the connection, and the queued commit
//! with it. So no commit overtakes another.
//!
//! A commit of entries of a stream is never queued ahead, nor anything behind it: a server checks permissions again
//! at `EXEC`, command by command. If `XADD` were forbidden between the two, it would execute the `XACK` alone. If all
//! of it is sent at once, all of it is refused.

use std::io::ErrorKind;

use super::Transaction;
use super::wire::Wire;
use crate::redis::connection::Connection;
use crate::redis::fault::Fault;
use crate::sink::target::Target;
use crate::sink::{Records, Size};

/// What was sent behind the commit in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    Nothing,
    /// The next commit, up to its `EXEC`.
    Queued,
    /// A part of it: the connection has ended. Answers to earlier commands may still be readable.
    Broken,
}

impl Transaction {
    /// Sends the next commit up to its `EXEC`, if it may be queued behind this one.
    pub(super) async fn send_ahead(
        &mut self,
        connection: &mut Connection,
        target: &Target,
        records: &Records,
        next: Option<&Records>,
    ) -> Result<Ahead, Fault> {
        // If a new login is due, nothing is queued: the login would become a part of the transaction.
        let next =
            next.filter(|next| may_be_queued(records, next) && !connection.is_outdated(&target.server));
        let Some(next) = next else { return Ok(Ahead::Nothing) };
        let next = match self.next.take() {
            Some(next) => next,
            None => Wire::of(target, next, &self.key, self.number + 1, self.kept.memory()),
        };
        let sent = connection.send(&next.bytes[..next.exec]).await;
        self.next = Some(next);
        match sent {
            Ok(()) => Ok(Ahead::Queued),
            Err(silence) if silence.kind() == ErrorKind::TimedOut => Err(silence.into()),
            Err(_) => Ok(Ahead::Broken),
        }
    }
}

/// Whether the next commit may be queued behind this one. A large one would delay the answer to this one.
fn may_be_queued(records: &Records, next: &Records) -> bool {
    records.held().is_none() && next.held().is_none() && next.bytes() <= Size::Large.most_bytes()
}
