//! The living consumers: their ids in the list `consumer:ids`, and one lease per process.
//!
//! ```text
//!   register ──► run, a renewal every third of a lease ──► release
//!      │            │ own ids missing?  put them back          │
//!      │            │ a lease lapsed?   remove what it left    │
//!      ▼            ▼                                          ▼
//!   consumer:ids  {consumer:ids}:leases  {consumer:ids}:processes  {consumer:ids}:lease:<process>
//! ```
//!
//! An id is in the list from before its consumer's first message until its process stops, or until its process's lease
//! lapses by the server's clock. Then any other process removes it, and the lane keys of the dead one. Ids without a
//! lease belong to other programs and are never touched.
//!
//! All decisions are scripts, so each is one atomic step (`scripts`). `timing` says when to renew and when to judge.
//! `Registration` owns all that a process has in these keys.

mod about;
mod error;
mod list;
mod names;
mod registration;
mod renewals;
mod scripts;
mod text;

pub(crate) use about::About;
use about::SameWork;
pub(crate) use error::IdsError;
use error::Purpose;
pub use list::{Lease, ListedId};
pub(crate) use list::{clear, list};
pub(crate) use names::Names;
pub(crate) use registration::Registration;

use super::fault::Fault;
use super::link::Link;

/// Opens connections: the first one, and another one after the last was closed or a command on it failed.
///
/// The future may be dropped before it is done.
pub(crate) trait Connect {
    fn connect(&mut self) -> impl Future<Output = Result<Link, Fault>> + Send;

    /// A connector to the node that serves this key. `None` unless that may be another node, as on a cluster.
    fn elsewhere(&self, key: &str) -> Option<Self>
    where
        Self: Sized,
    {
        let _ = key;
        None
    }
}

#[cfg(test)]
mod tests;
