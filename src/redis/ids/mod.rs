//! Who is alive: the consumers' ids in the list `consumer:ids`, and one lease a process.
//!
//! ```text
//!   register ──► keep, a renewal every third of a lease ──► release
//!      │            │ own ids missing?  put them back          │
//!      │            │ a lease lapsed?   remove what it left    │
//!      ▼            ▼                                          ▼
//!   consumer:ids  {consumer:ids}:leases  {consumer:ids}:processes  {consumer:ids}:lease:<process>
//! ```
//!
//! An id stands in the list from before its consumer's first message until its process stops, or until the
//! lease of its process lapses, which is the server's clock to say. Then any other process removes it, and
//! the lane keys of the dead one. Ids that no lease holds are another program's and never touched.
//!
//! Everything that decides is a script, so that it is one step for everybody (`scripts`); when to renew and
//! to judge is `timing`; `Registration` owns all that a process has in these keys.

mod about;
mod error;
mod keeper;
mod list;
mod names;
mod registration;
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

/// Opens connections. It is asked for one at first, and again whenever the last one was closed or a command on it failed.
///
/// The future may be dropped before it is done.
pub(crate) trait Connect {
    fn connect(&mut self) -> impl Future<Output = Result<Link, Fault>> + Send;

    /// The one that connects to whoever serves this key, where that may be somebody else: in a cluster.
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
