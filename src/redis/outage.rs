//! Reports an outage: when it begins, when its cause changes, and at intervals while it lasts.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::status::{Need, Status};
use crate::text::{Lasted, seconds};

/// The failed attempts at one task, in a row. Reported in the log and, except at the start, in the group's status.
/// Lives as long as the task, and is shared by everything that works on it.
#[derive(Debug)]
pub(crate) struct Outage {
    task: Task,
    need: Option<Need>,
    state: Mutex<State>,
}

/// The task that is attempted, with the name of its channel, stream or key.
#[derive(Debug, Clone)]
pub(crate) enum Task {
    /// At this address.
    Start(String),
    Subscribe(String),
    Read(String),
    Append(String),
    /// In this key.
    RenewLease(String),
    /// The leases, takeovers and figures of the stream's group.
    MaintainGroup(String),
    /// After the end of an epoch.
    JoinGroup(String),
    /// Before the current ones expire.
    RenewCredentials,
}

#[derive(Debug, Default)]
struct State {
    now: Option<Failing>,
    /// Whether the status shows this failure.
    is_reported: bool,
    /// The cause that was logged last, and when. Outlives the outage, so that one that comes and goes is not logged
    /// more often.
    told: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    cause: String,
    is_told: bool,
}

/// What to log about a failure.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    event: &'static str,
    lasts: Duration,
}

impl Outage {
    /// How often an unchanged cause is logged.
    const REMINDER: Duration = Duration::from_secs(30);
    /// The shortest time between lines when causes alternate.
    const SHORTEST: Duration = Duration::from_secs(3);

    /// For a task of a group. The group is disconnected while the task fails.
    pub(crate) fn new(task: Task, status: &Status) -> Self {
        Self { task, need: Some(status.need()), state: Mutex::default() }
    }

    /// For a task that no group waits for yet.
    pub(crate) fn at_the_start(address: impl fmt::Display) -> Self {
        Self { task: Task::Start(address.to_string()), need: None, state: Mutex::default() }
    }

    /// For the renewal of credentials. The current ones still work.
    pub(crate) fn of_credentials() -> Self {
        Self { task: Task::RenewCredentials, need: None, state: Mutex::default() }
    }

    /// Reports that the task has been interrupted since `since` and is about to be attempted again.
    pub(crate) fn begins(&self, since: Instant, cause: &str) {
        self.report(&mut self.lock(), since, cause.to_owned());
    }

    /// Reports a failed attempt that will be repeated.
    pub(crate) fn failed(&self, cause: &str) {
        self.warn(cause);
        let mut state = self.lock();
        let since = state.now.as_ref().map_or_else(Instant::now, |now| now.since);
        self.report(&mut state, since, format!("{}: {cause}", self.task.cannot()));
    }

    /// Logs a failed attempt that nobody waits for. The status does not change.
    pub(crate) fn warn(&self, cause: &str) {
        let Some(Line { event, lasts }) = self.line(cause) else { return };
        let retrying = if lasts.is_zero() {
            "retrying".to_owned()
        } else {
            format!("still retrying after {}", Lasted(lasts))
        };
        let text = match &self.task {
            Task::Append(_) => format!("{} ({cause}); {retrying}", self.task.cannot()),
            _ => format!("{}: {cause}; {retrying}", self.task.cannot()),
        };
        tracing::warn!(
            event,
            task = self.task.name(),
            channel = self.task.channel(),
            stream = self.task.stream(),
            cause,
            seconds = seconds(lasts),
            "{text}"
        );
    }

    /// What to log about this failure, if a line is due.
    fn line(&self, cause: &str) -> Option<Line> {
        let (at, mut state) = (Instant::now(), self.lock());
        let State { now, told, .. } = &mut *state;
        let now = now.get_or_insert_with(|| Failing { since: at, cause: String::new(), is_told: false });
        cause.clone_into(&mut now.cause);
        if let Some((told, last)) = told {
            let pause = if told == cause { Self::REMINDER } else { Self::SHORTEST };
            if at - *last < pause {
                return None;
            }
        }
        *told = Some((cause.to_owned(), at));
        let event = if now.is_told { "outage_lasts" } else { "outage_began" };
        now.is_told = true;
        Some(Line { event, lasts: at - now.since })
    }

    /// The cause of the latest attempt, if that failed.
    pub(crate) fn cause(&self) -> Option<String> {
        self.lock().now.as_ref().map(|now| now.cause.clone())
    }

    /// Reports a success, in the log if the outage was logged. Returns how long the outage lasted, if there was one.
    pub(crate) fn is_over(&self) -> Option<Duration> {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_reported)
            && let Some(need) = &self.need
        {
            need.is_met();
        }
        let now = state.now.take()?;
        let lasted = now.since.elapsed();
        if now.is_told {
            tracing::info!(
                event = "outage_over",
                task = self.task.name(),
                channel = self.task.channel(),
                stream = self.task.stream(),
                cause = now.cause,
                seconds = seconds(lasted),
                "{} again after {}",
                self.task.works(),
                Lasted(lasted)
            );
        }
        Some(lasted)
    }

    fn report(&self, state: &mut State, since: Instant, cause: String) {
        if let Some(need) = &self.need {
            state.is_reported = true;
            need.fails(since, cause);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Task {
    /// The name in an event's field.
    fn name(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Subscribe(_) => "subscribe",
            Self::Read(_) => "read",
            Self::Append(_) => "append",
            Self::RenewLease(_) => "renew_lease",
            Self::MaintainGroup(_) => "maintain_group",
            Self::JoinGroup(_) => "join_group",
            Self::RenewCredentials => "renew_credentials",
        }
    }

    fn channel(&self) -> Option<&str> {
        match self {
            Self::Subscribe(channel) => Some(channel),
            _ => None,
        }
    }

    fn stream(&self) -> Option<&str> {
        match self {
            Self::Read(stream)
            | Self::Append(stream)
            | Self::MaintainGroup(stream)
            | Self::JoinGroup(stream) => Some(stream),
            Self::Start(_) | Self::Subscribe(_) | Self::RenewLease(_) | Self::RenewCredentials => None,
        }
    }

    /// The beginning of a sentence about the failure.
    fn cannot(&self) -> String {
        match self {
            Self::Start(address) => format!("cannot start yet at {address}"),
            Self::Subscribe(channel) => format!("cannot subscribe to {channel}"),
            Self::Read(stream) => format!("cannot read {stream}"),
            Self::Append(stream) => format!("cannot append to {stream}"),
            Self::RenewLease(key) => format!("could not renew the lease of the consumer ids in {key}"),
            Self::MaintainGroup(stream) => format!("cannot maintain the group of {stream}"),
            Self::JoinGroup(stream) => format!("cannot join the group of {stream} again"),
            Self::RenewCredentials => "cannot get new credentials before the current ones expire".to_owned(),
        }
    }

    /// The beginning of a sentence about the recovery.
    fn works(&self) -> String {
        match self {
            Self::Start(address) => format!("starting at {address}"),
            Self::Subscribe(channel) => format!("receiving messages of {channel}"),
            Self::Read(stream) => format!("reading {stream}"),
            Self::Append(stream) => format!("appending to {stream}"),
            Self::RenewLease(key) => format!("renewed the lease of the consumer ids in {key}"),
            Self::MaintainGroup(stream) => format!("maintaining the group of {stream}"),
            Self::JoinGroup(stream) => format!("joined the group of {stream}"),
            Self::RenewCredentials => "got new credentials".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "Connection refused (os error 111)";
    const OOM: &str = "OOM command not allowed";

    /// Fails `count` times, once a second. Returns the lines to log, and the seconds that each of them shows.
    async fn failures(outage: &Outage, cause: &str, count: usize) -> Vec<(&'static str, u64)> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.extend(outage.line(cause).map(|line| (line.event, line.lasts.as_secs())));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        lines
    }

    fn outage() -> Outage {
        Outage::new(Task::Subscribe("c".into()), &Status::alone())
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_at_once_with_each_new_cause_and_every_half_minute() {
        let outage = outage();
        let lines = failures(&outage, REFUSED, 50).await;
        assert_eq!(lines, [("outage_began", 0), ("outage_lasts", 30)]);
        assert_eq!(failures(&outage, OOM, 10).await, [("outage_lasts", 50)]);
        assert_eq!(outage.cause().as_deref(), Some(OOM));
        assert_eq!(outage.is_over(), Some(Duration::from_secs(60)));
        assert_eq!(outage.is_over(), None);
        assert_eq!(failures(&outage, REFUSED, 1).await, [("outage_began", 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_comes_and_goes_is_told_every_half_minute() {
        let outage = outage();
        let mut lines = 0;
        for _ in 0..60 {
            lines += failures(&outage, REFUSED, 1).await.len();
            outage.is_over();
        }
        assert_eq!(lines, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn causes_that_alternate_do_not_flood_the_log() {
        let outage = outage();
        let mut lines = Vec::new();
        for _ in 0..6 {
            lines.extend(failures(&outage, REFUSED, 1).await);
            lines.extend(failures(&outage, OOM, 1).await);
        }
        assert_eq!(lines.len(), 4, "{lines:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_group_is_disconnected_until_an_attempt_succeeds() {
        use crate::status::State;

        let status = Status::alone();
        let outage = Outage::new(Task::Append("s".into()), &status);
        outage.warn(OOM);
        assert_eq!(status.state(), State::Connected);
        let since = Instant::now();
        outage.failed(OOM);
        tokio::time::sleep(Duration::from_secs(1)).await;
        outage.failed(REFUSED);
        let cause = format!("cannot append to s: {REFUSED}");
        assert_eq!(status.state(), State::Disconnected { since, cause });
        outage.is_over();
        assert_eq!(status.state(), State::Connected);
    }
}
