//! Hooks: functions of the user that run on the group's thread when something happens.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::appended::Appended;
use crate::dropped::{DropCause, Dropped};
use crate::ledger::Gap;
use crate::rejected::Rejected;

type Hook<T> = Option<Arc<dyn Fn(&T) + Send + Sync>>;
type CommitHook = Option<Arc<dyn Fn(&Appended<'_>) + Send + Sync>>;

/// The hooks that were set with the [`Builder`](crate::Builder).
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    /// A commit to the output.
    pub(crate) append: CommitHook,
    /// A message that is in the stream of rejected messages.
    pub(crate) reject: Hook<Rejected>,
    /// A gap that has ended.
    pub(crate) gap: Hook<Gap>,
    /// Messages that were dropped.
    pub(crate) drop: Hook<Dropped>,
    /// The number of the shard whose events these hooks get.
    pub(crate) shard: Option<u32>,
}

impl Hooks {
    /// The hooks for the events of this shard.
    pub(crate) fn of_shard(&self, shard: Option<u32>) -> Self {
        Self { shard, ..self.clone() }
    }

    pub(crate) fn on_append(&self, appended: &Appended<'_>) {
        if let Some(hook) = &self.append {
            guarded("on_append", || hook(appended));
        }
    }

    /// Calls the hook with each of these messages, which are read only if there is a hook.
    pub(crate) fn on_reject(&self, rejected: impl Iterator<Item = Rejected>) {
        if let Some(hook) = &self.reject {
            rejected.for_each(|rejected| guarded("on_reject", || hook(&rejected)));
        }
    }

    pub(crate) fn on_gap(&self, gap: &Gap) {
        if let Some(hook) = &self.gap {
            guarded("on_gap", || hook(gap));
        }
    }

    pub(crate) fn on_drop(&self, count: u64, channel: &str, cause: DropCause) {
        if let Some(hook) = &self.drop {
            let dropped = Dropped { count, channel: channel.to_owned(), shard: self.shard, cause };
            guarded("on_drop", || hook(&dropped));
        }
    }
}

/// Runs a hook. A bug in it must not end the group, whose messages it only observes.
fn guarded(hook: &'static str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!(event = "hook_panicked", hook, "the hook {hook} panicked; the group continues");
    }
}
