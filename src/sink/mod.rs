//! Where records go: lanes append them in commits.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod memory;
mod pipeline;
mod records;
mod stream;
mod target;
mod transaction;

pub(crate) use self::records::{Form, Records, Size};
pub(crate) use self::stream::StreamLane;
pub(crate) use self::target::{Acknowledges, Keep, Target};
use crate::error::Error;

/// The result of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The records are in the stream, and the entries they came from are acknowledged.
    Committed,
    /// Nothing was appended: the epoch of the messages is over.
    Fenced,
}

/// A writer of commits. One commit is in flight at a time, and commits happen in the order in which they are passed.
pub(crate) trait Lane: Send + 'static {
    /// The form of the records for this lane.
    fn form(&self) -> Form;

    /// Appends the records, acknowledges their messages, and returns when both are confirmed. Transient faults (the
    /// server is unreachable, loading, out of memory) are retried until they pass.
    ///
    /// `next` is the following commit, if it is known: the part of it that changes nothing may be sent ahead.
    /// # Errors
    /// Permanent faults: retrying cannot help. The lane is not used again.
    fn commit(
        &mut self,
        records: &Records,
        next: Option<&Records>,
    ) -> impl Future<Output = Result<Settled, Error>> + Send;

    /// Returns when [`tend`](Self::tend) should be called. May be dropped.
    fn due(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Maintains the connection and checks on former commits.
    fn tend(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Deletes the lane's own state in Redis. Called once, after the last commit.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
