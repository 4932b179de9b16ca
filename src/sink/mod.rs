//! Where records go: lanes that append batches of them.

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

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The records are in the stream, and their messages are acknowledged where they have receipts.
    Committed,
    /// Nothing was appended: the epoch under which the messages were held is over.
    Fenced,
}

/// One writer of commits. One commit is under way at a time, and they are made in the order in which they come.
pub(crate) trait Lane: Send + 'static {
    /// What the records for this lane are made of.
    fn form(&self) -> Form;

    /// Appends the records and acknowledges their messages, and comes back when that is known to be done. What passes
    /// (a server that is away, loading, out of memory) is waited out for as long as it takes.
    ///
    /// `next` is the commit that comes after it, if that is known: what of it changes nothing may be sent already.
    ///
    /// # Errors
    /// What waiting cannot repair. The lane is not used again.
    fn commit(
        &mut self,
        records: &Records,
        next: Option<&Records>,
    ) -> impl Future<Output = Result<Settled, Error>> + Send;

    /// Comes back when the lane wants to be tended. May be dropped.
    fn due(&mut self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Looks after what was committed.
    fn tend(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Removes what the lane kept for itself. Called once, after the last commit.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
