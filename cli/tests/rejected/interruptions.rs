//! `rejected replay` is killed, frozen, started twice or without its output: no message is lost or duplicated.

use std::collections::HashSet;

use rustix::process::Signal;

use crate::fixture::{OUTPUT, REJECTED, each_is_there_once};
use crate::support::redis::Redis;

#[tokio::test]
async fn a_replay_that_is_killed_repeatedly_loses_and_duplicates_no_message() {
    const MESSAGES: usize = 40_000;
    const OF: [&str; 4] = ["--lease", "1s", "--consumers", "4"];
    let mut redis = Redis::start().await;
    redis.reject_many(MESSAGES);
    let mut kills = 0;
    for _ in 0..3 {
        let before = redis.length(OUTPUT);
        let replay = redis.replay(&OF);
        while redis.length(OUTPUT) == before {
            assert!(redis.length(OUTPUT) < MESSAGES * 6 / 7, "it was too quick");
        }
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        // Dropping it sends SIGKILL.
        drop(replay);
        // The server may still have a commit of it in its socket.
        while redis.ask::<String>(&["CLIENT", "LIST"]).lines().count() > 1 {}
        kills += 1;
        each_is_there_once(&mut redis, MESSAGES);
    }
    assert!(redis.length(OUTPUT) < MESSAGES * 6 / 7, "{kills} kills found nothing to interrupt");
    let end = redis.replay(&OF).end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let (processed, bad) = each_is_there_once(&mut redis, MESSAGES);
    assert_eq!((processed, bad), (MESSAGES - MESSAGES.div_ceil(7), MESSAGES.div_ceil(7)));
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
    assert!(redis.keys().iter().all(|key| !key.contains("leases:redis") && !key.contains("token")));
}

#[tokio::test]
async fn a_second_replay_is_refused_while_the_first_one_runs() {
    let mut redis = Redis::start().await;
    redis.reject_many(60_000);
    let first = redis.replay(&["--lease", "2s"]);
    while redis.length(OUTPUT) == 0 {}
    // The first replay still runs, and its lease has not expired, when the second one starts.
    let second = redis.rejected(&["replay", "--lease", "2s"]);
    assert_eq!(second.code, 1, "{}", second.stderr);
    let said = "another process is replaying messages:rejected; wait until it ends";
    assert!(second.stderr.contains(said), "{}", second.stderr);
    let end = first.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    each_is_there_once(&mut redis, 60_000);
}

#[tokio::test]
async fn a_replay_frozen_for_longer_than_its_lease_commits_none_of_the_messages_it_held() {
    const MESSAGES: usize = 30_000;
    let mut redis = Redis::start().await;
    redis.reject_many(MESSAGES);
    let first = redis.replay(&["--lease", "1s"]);
    while redis.length(OUTPUT) == 0 {}
    first.signal(Signal::STOP);
    let second = redis.replay(&["--lease", "1s"]);
    let end = second.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    each_is_there_once(&mut redis, MESSAGES);
    first.signal(Signal::CONT);
    let end = first.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    let (processed, _) = each_is_there_once(&mut redis, MESSAGES);
    assert_eq!(processed, MESSAGES - MESSAGES.div_ceil(7));
    assert_eq!(redis.ask::<Vec<redis::Value>>(&["XINFO", "GROUPS", REJECTED]).len(), 0);
    assert_eq!(redis.keys(), HashSet::from([OUTPUT.to_owned(), REJECTED.to_owned()]));
}

#[tokio::test]
async fn an_output_that_becomes_another_type_loses_no_rejected_message() {
    const MESSAGES: usize = 50_000;
    let mut redis = Redis::start().await;
    redis.reject_many(MESSAGES);
    let replay = redis.replay(&[]);
    while redis.length(OUTPUT) == 0 {}
    let mut swap = redis::pipe();
    swap.atomic()
        .cmd("RENAME")
        .arg(OUTPUT)
        .arg("aside")
        .ignore()
        .cmd("SET")
        .arg(OUTPUT)
        .arg("a string")
        .ignore();
    swap.exec(&mut redis.connection).unwrap();
    let end = replay.end().await;
    assert_eq!(end.code, 78, "{}", end.stderr);
    redis.ask::<()>(&["DEL", OUTPUT]);
    redis.ask::<()>(&["RENAME", "aside", OUTPUT]);
    let (processed, _) = each_is_there_once(&mut redis, MESSAGES);
    assert!(processed < MESSAGES * 6 / 7, "it was too quick");
}
