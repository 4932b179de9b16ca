//! The failures in a row of one task, from the first one to the success that ends them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

pub(crate) use crate::status::Task;
use crate::status::{Failure, Incident, Missed, Need, Status};

/// The failed attempts at one task, in a row. Lives as long as the task, and is shared by everything that works on it.
#[derive(Debug)]
pub(crate) struct Outage {
    reports: Reports,
    /// Since when it fails, and the cause of the latest attempt.
    now: Mutex<Option<(Instant, Option<String>)>>,
    is_warned: AtomicBool,
}

/// Where failures are reported.
#[derive(Debug)]
enum Reports {
    /// In the state of a group, and in its log: once for all tasks that fail together.
    InStatus(Need),
    /// In the log.
    InLog(Task, Mutex<Incident>),
}

impl Outage {
    /// For a task of a group. While it fails, the group is disconnected or degraded.
    pub(crate) fn new(task: Task, status: &Status) -> Self {
        Self {
            reports: Reports::InStatus(status.need(task)),
            now: Mutex::default(),
            is_warned: AtomicBool::new(false),
        }
    }

    /// For a task that no group waits for yet.
    pub(crate) fn at_the_start(address: impl fmt::Display) -> Self {
        Self::alone(Task::Start(address.to_string()))
    }

    /// For the renewal of credentials. The current ones still work.
    pub(crate) fn of_credentials() -> Self {
        Self::alone(Task::RenewCredentials)
    }

    fn alone(task: Task) -> Self {
        Self {
            reports: Reports::InLog(task, Mutex::default()),
            now: Mutex::default(),
            is_warned: AtomicBool::new(false),
        }
    }

    /// Reports that the subscription has ended: it receives nothing since `since`.
    pub(crate) fn broke(&self, since: Instant, cause: &str) {
        *lock(&self.now) = Some((since, None));
        self.report(since, Failure::Broke(cause));
    }

    /// Reports that the subscription has been silent since `since`, and may have ended.
    pub(crate) fn silent(&self, since: Instant, cause: &str) {
        *lock(&self.now) = Some((since, None));
        self.report(since, Failure::Silent(cause));
    }

    /// Reports a failed attempt that will be repeated.
    pub(crate) fn failed(&self, cause: &str) {
        let since = {
            let mut now = lock(&self.now);
            let (since, last) = now.get_or_insert_with(|| (Instant::now(), None));
            *last = Some(cause.to_owned());
            *since
        };
        self.report(since, Failure::Attempt(cause));
    }

    /// Logs, once, that the task could not be done. No message waits for it yet, so the group works.
    pub(crate) fn warn(&self, cause: &str) {
        let Reports::InStatus(need) = &self.reports else { return };
        if !self.is_warned.swap(true, Ordering::Relaxed) {
            need.warn(cause);
        }
    }

    /// The cause of the latest attempt, if that failed.
    pub(crate) fn cause(&self) -> Option<String> {
        lock(&self.now).as_ref().and_then(|(_, cause)| cause.clone())
    }

    /// Reports a gap in the subscription. It is logged with the end of the outage.
    pub(crate) fn missed(&self, missed: Missed) {
        match &self.reports {
            Reports::InStatus(need) => need.missed(missed),
            Reports::InLog(..) => missed.log(),
        }
    }

    /// Reports a success. The end of the outage is logged when everything else works too. Returns whether the task
    /// failed until now.
    pub(crate) fn succeeded(&self) -> bool {
        if lock(&self.now).take().is_none() {
            return false;
        }
        match &self.reports {
            Reports::InStatus(need) => need.succeeds(),
            Reports::InLog(_, incident) => {
                let line = lock(incident).over();
                line.iter().for_each(|line| line.log());
            }
        }
        true
    }

    fn report(&self, since: Instant, failure: Failure<'_>) {
        match &self.reports {
            Reports::InStatus(need) => need.fails(since, failure),
            Reports::InLog(task, incident) => {
                let lines = lock(incident).fails(task, since, failure, None);
                lines.iter().for_each(|line| line.log());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::status::State;

    #[tokio::test(start_paused = true)]
    async fn the_group_is_degraded_from_the_first_failure_to_the_next_success() {
        let status = Status::alone();
        let outage = Outage::new(Task::Append("s".into()), &status);
        outage.warn("OOM");
        assert_eq!((status.state(), outage.succeeded()), (State::Connected, false));
        let since = Instant::now();
        outage.failed("OOM");
        tokio::time::sleep(Duration::from_secs(1)).await;
        outage.failed("refused");
        assert_eq!(outage.cause().as_deref(), Some("refused"));
        let (problem, cause) = ("cannot append to s".to_owned(), "refused".to_owned());
        assert_eq!(status.state(), State::Degraded { since, problem, cause });
        assert!(outage.succeeded() && !outage.succeeded());
        assert_eq!((status.state(), outage.cause()), (State::Connected, None));
    }
}
