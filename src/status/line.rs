//! The lines of the log about an outage.

use std::time::Duration;

use super::task::Task;
use crate::text::{Lasted, seconds};

/// How a task failed; with the cause.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failure<'a> {
    /// An attempt failed, and another follows.
    Attempt(&'a str),
    /// A subscription ended.
    Broke(&'a str),
    /// A subscription may have ended.
    Silent(&'a str),
}

/// A gap in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missed {
    pub(crate) channel: String,
    pub(crate) cause: String,
    pub(crate) lasted: Duration,
}

/// Lines to log after the locks are released.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A failure: the first one of an outage, or a later one.
    Fails {
        event: &'static str,
        task: Task,
        cause: String,
        lasts: Duration,
        text: String,
    },
    /// A gap whose outage lasts because of something else.
    Gap(Missed),
    Over {
        task: Task,
        cause: String,
        lasted: Duration,
        missed: Vec<Missed>,
        dropped: u64,
        text: String,
    },
}

/// The line about a failure that lasts.
pub(super) fn still(task: &Task, cause: &str, lasts: Duration) -> String {
    let retrying = format!("still retrying after {}", Lasted(lasts));
    match task {
        Task::Append(_) => format!("{} ({cause}); {retrying}", task.cannot()),
        _ => format!("{}: {cause}; {retrying}", task.cannot()),
    }
}

impl<'a> Failure<'a> {
    pub(super) fn cause(&self) -> &'a str {
        match self {
            Self::Attempt(cause) | Self::Broke(cause) | Self::Silent(cause) => cause,
        }
    }

    pub(super) fn text(&self, task: &Task) -> String {
        let channel = task.channel().unwrap_or_default();
        match (self, task) {
            (Self::Attempt(cause), Task::Append(_)) => format!("{} ({cause}); retrying", task.cannot()),
            (Self::Attempt(cause), _) => format!("{}: {cause}; retrying", task.cannot()),
            (Self::Broke(cause), _) => format!(
                "disconnected from {channel}: {cause}; reconnecting; messages published until then are lost"
            ),
            (Self::Silent(cause), _) => {
                format!("{cause} on the connection of {channel}; opening another one next to it")
            }
        }
    }
}

impl Missed {
    pub(super) fn text(&self) -> String {
        let Self { channel, cause, lasted } = self;
        format!(
            "gap of {} in {channel}: {cause}; messages published in the meantime were lost",
            Lasted(*lasted)
        )
    }

    pub(crate) fn log(&self) {
        tracing::warn!(
            event = "gap",
            channel = self.channel,
            cause = self.cause,
            seconds = seconds(self.lasted),
            "{}",
            self.text()
        );
    }
}

impl Line {
    pub(crate) fn log(&self) {
        match self {
            Self::Fails { event, task, cause, lasts, text } => tracing::warn!(
                event,
                task = task.name(),
                channel = task.channel(),
                stream = task.stream(),
                cause,
                seconds = seconds(*lasts),
                "{text}"
            ),
            Self::Gap(missed) => missed.log(),
            Self::Over { task, cause, lasted, missed, dropped, text } => {
                macro_rules! over {
                    ($level:ident) => {
                        tracing::$level!(
                            event = "outage_over",
                            task = task.name(),
                            channel = task.channel(),
                            stream = task.stream(),
                            cause,
                            seconds = seconds(*lasted),
                            gaps = missed.len(),
                            gap_seconds = seconds(missed.iter().map(|missed| missed.lasted).sum()),
                            dropped,
                            "{text}"
                        )
                    };
                }
                match missed.is_empty() && *dropped == 0 {
                    true => over!(info),
                    false => over!(warn),
                }
            }
        }
    }
}
