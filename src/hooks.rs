//! Functions of the user that are told what happens, on the group's thread.

use std::sync::Arc;

use crate::appended::Appended;
use crate::ledger::Gap;

type Hook<T> = Option<Arc<dyn Fn(&T) + Send + Sync>>;
type CommitHook = Option<Arc<dyn Fn(&Appended<'_>) + Send + Sync>>;

/// Those that were set with the [`Builder`](crate::Builder).
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    /// A commit to the output.
    pub(crate) append: CommitHook,
    /// A commit to the stream of rejected messages.
    pub(crate) reject: CommitHook,
    /// A gap that is over.
    pub(crate) gap: Hook<Gap>,
    /// So many messages were dropped.
    pub(crate) drop: Hook<u64>,
}
