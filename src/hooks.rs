//! Hooks: functions of the user that run on the group's thread when something happens.

use std::sync::Arc;

use crate::appended::Appended;
use crate::ledger::Gap;

type Hook<T> = Option<Arc<dyn Fn(&T) + Send + Sync>>;
type CommitHook = Option<Arc<dyn Fn(&Appended<'_>) + Send + Sync>>;

/// The hooks that were set with the [`Builder`](crate::Builder).
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    /// A commit to the output.
    pub(crate) append: CommitHook,
    /// A commit to the stream of rejected messages.
    pub(crate) reject: CommitHook,
    /// A gap that has ended.
    pub(crate) gap: Hook<Gap>,
    /// The number of messages that were dropped.
    pub(crate) drop: Hook<u64>,
}
