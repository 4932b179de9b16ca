use tokio::time::sleep;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn status() -> (Status, Need, Need) {
    let status = Status::alone();
    let (subscription, lane) =
        (status.need(Task::Subscribe("c".into())), status.need(Task::Append("s".into())));
    (status, subscription, lane)
}

fn disconnected(since: Instant, cause: &str) -> State {
    State::Disconnected { since, cause: format!("cannot subscribe to c: {cause}") }
}

fn degraded(since: Instant, cause: &str) -> State {
    State::Degraded { since, problem: "cannot append to s".into(), cause: cause.into() }
}

#[tokio::test(start_paused = true)]
async fn it_is_disconnected_while_it_receives_nothing_and_degraded_while_anything_else_fails() {
    let (status, subscription, lane) = status();
    sleep(SECOND).await;
    let began = Instant::now();
    lane.fails(began, Failure::Attempt("out of memory"));
    assert_eq!((status.state(), status.disconnected()), (degraded(began, "out of memory"), Duration::ZERO));
    sleep(SECOND).await;
    subscription.fails(Instant::now(), Failure::Attempt("refused"));
    assert_eq!(status.state(), disconnected(began + SECOND, "refused"));
    sleep(SECOND).await;
    subscription.fails(Instant::now(), Failure::Attempt("timed out"));
    assert_eq!(status.state(), disconnected(began + SECOND, "timed out"));
    subscription.succeeds();
    assert_eq!(status.state(), degraded(began, "out of memory"));
    drop(lane);
    assert_eq!((status.state(), status.disconnected()), (State::Connected, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_ended_is_not_told_as_a_failed_attempt() {
    let (status, subscription, _lane) = status();
    let began = Instant::now();
    subscription.fails(began, Failure::Broke("the server closed the connection"));
    let cause = "the server closed the connection".to_owned();
    assert_eq!(status.state(), State::Disconnected { since: began, cause });
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_began_before_the_last_one_ended_counts_once() {
    let (status, need, _lane) = status();
    let began = Instant::now();
    sleep(SECOND).await;
    need.fails(began, Failure::Attempt("refused"));
    need.succeeds();
    sleep(SECOND).await;
    need.fails(began, Failure::Attempt("refused"));
    sleep(SECOND).await;
    assert_eq!(status.disconnected(), 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn dropped_messages_have_the_failing_append_as_their_reason() {
    let (status, subscription, lane) = status();
    subscription.fails(Instant::now(), Failure::Attempt("refused"));
    assert_eq!(status.dropped(1), None);
    lane.fails(Instant::now(), Failure::Attempt("OOM"));
    assert_eq!(status.dropped(1).as_deref(), Some("the group cannot append to s (OOM)"));
    lane.succeeds();
    assert_eq!(status.dropped(1), None);
}

#[tokio::test(start_paused = true)]
async fn the_group_is_as_its_worst_shard_and_ends_with_the_last() {
    let shards = Status::of_shards(2);
    let mut group = shards[0].of_group();
    let need = |shard: usize| shards[shard].need(Task::Subscribe("c".into()));
    let needs = [need(0), need(1)];
    let lane = shards[0].need(Task::Append("s".into()));
    let began = Instant::now();
    lane.fails(began, Failure::Attempt("OOM"));
    assert_eq!(*group.borrow_and_update(), degraded(began, "OOM"));
    needs[1].fails(began, Failure::Attempt("one"));
    assert_eq!(*group.borrow_and_update(), disconnected(began, "one"));
    lane.succeeds();
    assert_eq!(shards[0].state(), State::Connected);
    sleep(SECOND).await;
    needs[0].fails(Instant::now(), Failure::Attempt("nought"));
    group.borrow_and_update();
    assert_eq!(*group.borrow(), disconnected(began, "one"), "the first one stays the cause");
    needs[1].succeeds();
    assert_eq!(*group.borrow_and_update(), disconnected(began, "nought"));
    sleep(SECOND).await;
    needs[0].succeeds();
    let each = [shards[0].disconnected(), shards[1].disconnected()];
    assert_eq!((each, shards[0].group_disconnected()), ([SECOND, SECOND], 2 * SECOND));
    shards[0].drains();
    shards[0].ends();
    assert_eq!(*group.borrow_and_update(), State::Draining);
    shards[1].ends();
    needs[1].fails(Instant::now(), Failure::Attempt("late"));
    assert_eq!(*group.borrow_and_update(), State::Ended);
}
