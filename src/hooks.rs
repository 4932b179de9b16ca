//! Hooks: functions of the user that run on the group's thread when something happens.

use std::panic::{AssertUnwindSafe, catch_unwind};
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

impl Hooks {
    pub(crate) fn on_append(&self, appended: &Appended<'_>) {
        if let Some(hook) = &self.append {
            guarded("on_append", || hook(appended));
        }
    }

    pub(crate) fn on_reject(&self, rejected: &Appended<'_>) {
        if let Some(hook) = &self.reject {
            guarded("on_reject", || hook(rejected));
        }
    }

    pub(crate) fn on_gap(&self, gap: &Gap) {
        if let Some(hook) = &self.gap {
            guarded("on_gap", || hook(gap));
        }
    }

    pub(crate) fn on_drop(&self, count: u64) {
        if let Some(hook) = &self.drop {
            guarded("on_drop", || hook(&count));
        }
    }
}

/// Runs a hook. A bug in it must not end the group, whose messages it only observes.
fn guarded(hook: &'static str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!(event = "hook_panicked", hook, "the hook {hook} panicked; the group goes on");
    }
}
