//! The log of an outage: one line when it begins, one for each further kind of cause, one every 30 seconds,
//! and one at its end, however many tasks fail.

use std::time::Duration;

use tokio::time::Instant;

use super::line::{Failure, Line, Missed, still};
use super::task::Task;
use crate::text::{Lasted, messages};

/// What fails now, and what was logged about it. Outlives an outage, so that one that comes and goes does not flood the
/// log.
#[derive(Debug, Default)]
pub(crate) struct Incident {
    open: Option<Open>,
    /// The kinds of causes that were logged, and when.
    kinds: Vec<(String, Instant)>,
    /// The last line about a failure.
    last: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    noted: Instant,
    is_logged: bool,
    tasks: Vec<Task>,
    cause: String,
    is_away: bool,
    missed: Vec<(Missed, Instant)>,
    dropped: u64,
}

impl Incident {
    /// How often a lasting outage is logged, and one that comes and goes.
    const REMINDER: Duration = Duration::from_secs(30);
    /// The shortest time between lines about causes of different kinds.
    const SHORTEST: Duration = Duration::from_secs(3);
    /// How long a gap waits for the end of the outage, to be logged with it.
    const GAP_WAITS: Duration = Duration::from_secs(3);
    /// The most channels that a line names.
    const NAMED: usize = 3;

    /// Records a failure. `main`: the task to name in a reminder, and its cause.
    pub(crate) fn fails(
        &mut self,
        task: &Task,
        since: Instant,
        failure: Failure<'_>,
        main: Option<(&Task, &str)>,
    ) -> Vec<Line> {
        let (now, cause) = (Instant::now(), failure.cause());
        let kind = kind(cause);
        let open = self.open.get_or_insert_with(|| Open::new(since, now));
        open.note(task, since, cause, kind == AWAY);
        let mut lines = open.gaps_that_waited();
        let is_known = |(logged, at): &(String, Instant)| {
            *logged == kind && (*at >= open.noted || now - *at < Self::REMINDER)
        };
        let is_known = self.kinds.iter().any(is_known);
        let lasts = now - open.since;
        // A short outage whose cause is known is not logged. One that lasts is, or nobody learns of its end.
        let can_wait = open.is_logged || lasts < Self::SHORTEST;
        let pause = if is_known && can_wait { Self::REMINDER } else { Self::SHORTEST };
        if self.last.is_some_and(|last| now - last < pause) {
            tracing::debug!("{}", failure.text(task));
            return lines;
        }
        let (event, task, cause, text) = if open.is_logged && is_known {
            let (task, cause) = main.unwrap_or((task, cause));
            ("outage_lasts", task, cause, still(task, cause, lasts))
        } else {
            (if open.is_logged { "outage_lasts" } else { "outage_began" }, task, cause, failure.text(task))
        };
        open.is_logged = true;
        let noted = open.noted;
        self.kinds.retain(|(logged, at)| *logged != kind && (*at >= noted || now - *at < Self::REMINDER));
        self.kinds.push((kind, now));
        self.last = Some(now);
        lines.push(Line::Fails { event, task: task.clone(), cause: cause.to_owned(), lasts, text });
        lines
    }

    /// Records a gap. It is logged with the end of the outage, or at once if there is none.
    pub(crate) fn missed(&mut self, missed: Missed) -> Option<Line> {
        match &mut self.open {
            Some(open) => {
                open.missed.push((missed, Instant::now()));
                None
            }
            None => Some(Line::Gap(missed)),
        }
    }

    /// Records messages that were dropped meanwhile.
    pub(crate) fn dropped(&mut self, messages: u64) {
        if let Some(open) = &mut self.open {
            open.dropped += messages;
        }
    }

    /// Everything works again. Its line has the losses. None if neither the outage nor a loss was to be logged.
    pub(crate) fn over(&mut self) -> Option<Line> {
        let open = self.open.take()?;
        if !open.is_logged && open.missed.is_empty() {
            return None;
        }
        let lasted = open.since.elapsed();
        let subject = match &open.tasks[..] {
            [task] => task.works(),
            _ if open.is_away => "connected".to_owned(),
            _ => "working".to_owned(),
        };
        let text = format!("{subject} again after {}{}", Lasted(lasted), open.losses());
        Some(Line::Over {
            task: open.tasks.into_iter().next()?,
            cause: open.cause,
            lasted,
            missed: open.missed.into_iter().map(|(missed, _)| missed).collect(),
            dropped: open.dropped,
            text,
        })
    }

    /// Nothing fails any more because the tasks were given up.
    pub(crate) fn given_up(&mut self) -> Vec<Line> {
        let missed = self.open.take().map_or_else(Vec::new, |open| open.missed);
        missed.into_iter().map(|(missed, _)| Line::Gap(missed)).collect()
    }
}

impl Open {
    fn new(since: Instant, noted: Instant) -> Self {
        Self {
            since,
            noted,
            is_logged: false,
            tasks: Vec::new(),
            cause: String::new(),
            is_away: true,
            missed: Vec::new(),
            dropped: 0,
        }
    }

    fn note(&mut self, task: &Task, since: Instant, cause: &str, is_away: bool) {
        self.since = self.since.min(since);
        self.is_away &= is_away;
        cause.clone_into(&mut self.cause);
        if !self.tasks.contains(task) {
            self.tasks.push(task.clone());
        }
    }

    fn gaps_that_waited(&mut self) -> Vec<Line> {
        let waits = |(_, at): &(Missed, Instant)| at.elapsed() < Incident::GAP_WAITS;
        if self.missed.iter().all(waits) {
            return Vec::new();
        }
        std::mem::take(&mut self.missed).into_iter().map(|(missed, _)| Line::Gap(missed)).collect()
    }

    /// The end of the sentence about the end.
    fn losses(&self) -> String {
        let mut text = match &self.missed[..] {
            [] => String::new(),
            [(missed, _)] => format!("; {}", missed.text()),
            several => {
                let longest = several.iter().map(|(missed, _)| missed.lasted).max().unwrap_or_default();
                let mut names: Vec<_> =
                    several.iter().map(|(missed, _)| &*missed.channel).take(Incident::NAMED).collect();
                if several.len() > names.len() {
                    names.push("…");
                }
                format!(
                    "; {} gaps of up to {} in {}: {}; messages published in the meantime were lost",
                    several.len(),
                    Lasted(longest),
                    names.join(", "),
                    several[0].0.cause
                )
            }
        };
        if self.dropped > 0 {
            text += &format!("; {} dropped in this time", messages(self.dropped));
        }
        if text.is_empty() && self.tasks.iter().all(Task::loses_only_what_is_reported) {
            text += "; no message was missed or dropped";
        }
        text
    }
}

/// The kind of a connection that is not there.
const AWAY: &str = "away";

/// The kind of a cause. Causes of one kind are logged once in an outage.
fn kind(cause: &str) -> String {
    const OF_CONNECTIONS: [&str; 6] =
        ["os error", "connection broke", "closed the connection", "no answer", "timed out", "silent"];
    let code = cause.split_whitespace().next().unwrap_or_default();
    // The source recreates a stream's group that is gone, and logs that.
    if code == "NOGROUP"
        || cause == "ERR no such key"
        || OF_CONNECTIONS.iter().any(|text| cause.contains(text))
    {
        return AWAY.to_owned();
    }
    if code != "ERR" && code.len() > 2 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return code.to_owned();
    }
    cause.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests;
