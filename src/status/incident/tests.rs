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
    incident.missed(Missed { channel: "c".into(), cause: REFUSED.into(), lasted: Duration::from_secs(1) });
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
