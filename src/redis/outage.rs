//! Telling of an outage: when it begins, when its cause changes, and now and then while it lasts.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The attempts at one thing that fail, one after another. Lives as long as the thing is wanted; those who want the same
/// share it.
#[derive(Debug)]
pub(crate) struct Outage {
    /// What cannot be done, as the beginning of a sentence: "cannot append to messages:processed".
    what: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Option<Failing>,
    /// The cause that was told last, and when. It outlives the outage: one that comes and goes is told no more often.
    told: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    cause: String,
    is_told: bool,
}

impl Outage {
    /// A cause that stays the same is told this often.
    const REMINDER: Duration = Duration::from_secs(30);
    /// Causes that alternate are told no more often than this.
    const SHORTEST: Duration = Duration::from_secs(3);

    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), state: Mutex::default() }
    }

    /// An attempt failed, and another one follows.
    pub(crate) fn failed(&self, cause: &str) {
        if let Some(line) = self.line(cause) {
            tracing::warn!("{line}");
        }
    }

    /// What to tell of this failure, if it is time to.
    fn line(&self, cause: &str) -> Option<String> {
        let (at, mut state) = (Instant::now(), self.lock());
        let State { now, told } = &mut *state;
        let now = now.get_or_insert_with(|| Failing { since: at, cause: String::new(), is_told: false });
        cause.clone_into(&mut now.cause);
        if let Some((told, last)) = told {
            let pause = if told == cause { Self::REMINDER } else { Self::SHORTEST };
            if at - *last < pause {
                return None;
            }
        }
        *told = Some((cause.to_owned(), at));
        now.is_told = true;
        Some(match at - now.since {
            Duration::ZERO => format!("{}: {cause}; retrying", self.what),
            lasts => format!("{}: {cause}; retrying for {lasts:.0?} now", self.what),
        })
    }

    /// An attempt succeeded.
    pub(crate) fn over(&self) -> Option<Over> {
        let now = self.lock().now.take()?;
        Some(Over { lasted: now.since.elapsed(), cause: now.cause, is_told: now.is_told })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An outage that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Over {
    pub(crate) lasted: Duration,
    /// Why the last attempt failed.
    pub(crate) cause: String,
    /// Whether the log tells of it, and should tell of its end.
    pub(crate) is_told: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: &str = "Connection refused (os error 111)";
    const OOM: &str = "OOM command not allowed";

    /// So many failures, one each second; what is told of them.
    async fn failures(outage: &Outage, cause: &str, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.extend(outage.line(cause));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_told_at_once_with_each_new_cause_and_every_half_minute() {
        let outage = Outage::new("cannot subscribe to c");
        let lines = failures(&outage, REFUSED, 50).await;
        let first = format!("cannot subscribe to c: {REFUSED}; retrying");
        assert_eq!(lines, [first.clone(), format!("{first} for 30s now")]);
        let lines = failures(&outage, OOM, 10).await;
        assert_eq!(lines, [format!("cannot subscribe to c: {OOM}; retrying for 50s now")]);
        let lasted = Duration::from_secs(60);
        assert_eq!(outage.over(), Some(Over { lasted, cause: OOM.to_owned(), is_told: true }));
        assert_eq!(outage.over(), None);
        assert_eq!(failures(&outage, REFUSED, 1).await, [first]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_comes_and_goes_is_told_every_half_minute() {
        let outage = Outage::new("cannot read s");
        let (mut lines, mut ends) = (0, 0);
        for _ in 0..60 {
            lines += failures(&outage, REFUSED, 1).await.len();
            ends += usize::from(outage.over().is_some_and(|over| over.is_told));
        }
        assert_eq!((lines, ends), (2, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn causes_that_alternate_do_not_flood_the_log() {
        let outage = Outage::new("cannot append to s");
        let mut lines = Vec::new();
        for _ in 0..6 {
            lines.extend(failures(&outage, REFUSED, 1).await);
            lines.extend(failures(&outage, OOM, 1).await);
        }
        assert_eq!(lines.len(), 4, "{lines:#?}");
    }
}
