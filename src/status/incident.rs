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
mod tests {
    use tokio::time::sleep;

    use super::*;

    const REFUSED: &str = "Connection refused (os error 111)";
    const CLOSED: &str = "the server closed the connection";
    const OOM: &str = "OOM command not allowed";

    fn subscribe() -> Task {
        Task::Subscribe("c".into())
    }

    fn append() -> Task {
        Task::Append("s".into())
    }

    fn texts(lines: impl IntoIterator<Item = Line>) -> Vec<String> {
        let text = |line| match line {
            Line::Fails { event, text, .. } => format!("{event}: {text}"),
            Line::Gap(missed) => missed.text(),
            Line::Over { text, .. } => text,
        };
        lines.into_iter().map(text).collect()
    }

    fn fails(incident: &mut Incident, task: &Task, cause: &str) -> Vec<String> {
        texts(incident.fails(task, Instant::now(), Failure::Attempt(cause), None))
    }

    /// Fails this many times, once a second.
    async fn failures(incident: &mut Incident, cause: &str, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.extend(fails(incident, &subscribe(), cause));
            sleep(Duration::from_secs(1)).await;
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn one_outage_of_several_tasks_has_a_line_at_its_beginning_every_half_minute_and_at_its_end() {
        let mut incident = Incident::default();
        let broke = incident.fails(&subscribe(), Instant::now(), Failure::Broke(CLOSED), None);
        let mut lines = texts(broke);
        for _ in 0..65 {
            lines.extend(fails(&mut incident, &subscribe(), REFUSED));
            lines.extend(fails(&mut incident, &append(), REFUSED));
            lines.extend(fails(&mut incident, &Task::RenewLease("ids".into()), "no answer within 3.3s"));
            sleep(Duration::from_secs(1)).await;
        }
        let lasted = Duration::from_secs(65);
        assert_eq!(
            incident.missed(Missed { channel: "c".into(), cause: CLOSED.into(), lasted }),
            None,
            "it is logged with the end"
        );
        lines.extend(texts(incident.over()));
        assert_eq!(
            lines,
            [
                "outage_began: disconnected from c: the server closed the connection; reconnecting; messages published until then are lost",
                "outage_lasts: cannot subscribe to c: Connection refused (os error 111); still retrying after 30s",
                "outage_lasts: cannot subscribe to c: Connection refused (os error 111); still retrying after 60s",
                "connected again after 65s; gap of 65s in c: the server closed the connection; messages published in the meantime were lost",
            ]
        );
        assert_eq!(incident.over(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cause_of_another_kind_is_logged_and_the_end_says_that_nothing_was_lost() {
        let mut incident = Incident::default();
        let mut lines = failures(&mut incident, REFUSED, 10).await;
        lines.extend(failures(&mut incident, OOM, 5).await);
        lines.extend(fails(&mut incident, &append(), "OOM in other words"));
        lines.extend(texts(incident.over()));
        assert_eq!(
            lines,
            [
                "outage_began: cannot subscribe to c: Connection refused (os error 111); retrying",
                "outage_lasts: cannot subscribe to c: OOM command not allowed; retrying",
                "working again after 15s; no message was missed or dropped",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_comes_and_goes_is_logged_every_half_minute_and_its_gaps_always() {
        let mut incident = Incident::default();
        let (mut lines, mut gaps) = (0, 0);
        for second in 0..60 {
            lines += failures(&mut incident, REFUSED, 1).await.len();
            if second % 10 == 5 {
                let lasted = Duration::from_secs(1);
                incident.missed(Missed { channel: "c".into(), cause: REFUSED.into(), lasted });
                gaps += 1;
                assert!(texts(incident.over())[0].contains("; gap of 1s in c: "));
            }
            incident.over();
        }
        assert_eq!((lines, gaps), (2, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_that_lasts_is_logged_even_shortly_after_one_of_the_same_cause() {
        let mut incident = Incident::default();
        let mut lines = fails(&mut incident, &append(), OOM);
        sleep(Duration::from_millis(80)).await;
        lines.extend(texts(incident.over()));
        for _ in 0..10 {
            lines.extend(fails(&mut incident, &append(), OOM));
            sleep(Duration::from_secs(1)).await;
        }
        incident.dropped(2);
        lines.extend(texts(incident.over()));
        assert_eq!(
            lines,
            [
                "outage_began: cannot append to s (OOM command not allowed); retrying",
                "appending to s again after 80ms; no message was missed or dropped",
                "outage_began: cannot append to s (OOM command not allowed); retrying",
                "appending to s again after 10s; 2 messages dropped in this time",
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn causes_that_alternate_do_not_flood_the_log() {
        let mut incident = Incident::default();
        let mut lines = Vec::new();
        for number in 0..30 {
            lines.extend(failures(&mut incident, REFUSED, 1).await);
            lines.extend(failures(&mut incident, OOM, 1).await);
            lines.extend(failures(&mut incident, &format!("ERR number {number}"), 1).await);
        }
        assert_eq!(lines.len(), 5, "three kinds and two reminders: {lines:#?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_does_not_wait_for_the_end_of_something_else() {
        let mut incident = Incident::default();
        failures(&mut incident, REFUSED, 1).await;
        incident.missed(Missed {
            channel: "c".into(),
            cause: REFUSED.into(),
            lasted: Duration::from_secs(1),
        });
        let mut lines = Vec::new();
        for _ in 0..5 {
            lines.extend(fails(&mut incident, &append(), REFUSED));
            sleep(Duration::from_secs(1)).await;
        }
        let gap =
            "gap of 1s in c: Connection refused (os error 111); messages published in the meantime were lost";
        assert_eq!(lines, [gap]);
        incident.dropped(2);
        assert_eq!(texts(incident.over()), ["connected again after 6s; 2 messages dropped in this time"]);
        let missed = Missed { channel: "c".into(), cause: REFUSED.into(), lasted: Duration::from_secs(1) };
        assert_eq!(texts(incident.missed(missed)), [gap], "there is no outage");
    }

    #[tokio::test(start_paused = true)]
    async fn the_gaps_of_many_shards_are_told_together() {
        let mut incident = Incident::default();
        failures(&mut incident, REFUSED, 1).await;
        for shard in 0..5 {
            let lasted = Duration::from_secs(shard);
            incident.missed(Missed { channel: format!("c:{shard}"), cause: CLOSED.into(), lasted });
        }
        assert_eq!(
            texts(incident.over()),
            [
                "receiving messages of c again after 1s; 5 gaps of up to 4s in c:0, c:1, c:2, …: the server closed the \
              connection; messages published in the meantime were lost"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_during_an_outage_tells_its_gaps_and_not_that_it_works_again() {
        let mut incident = Incident::default();
        failures(&mut incident, REFUSED, 1).await;
        incident.missed(Missed { channel: "c".into(), cause: CLOSED.into(), lasted: Duration::from_secs(1) });
        assert!(texts(incident.given_up())[0].starts_with("gap of 1s in c: "));
        assert_eq!(incident.over(), None);
    }
}
