//! `ids` against a server.

mod support;

use redis::Commands;
use redis_private_server::PrivateServer;
use rustix::process::Signal;
use support::{Running, program, run};

#[tokio::test]
async fn the_ids_of_a_running_group_are_listed_with_their_lease_and_can_be_cleared() {
    let server = PrivateServer::builder().start().await.unwrap();
    let mut redis = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut group = Running::start(&mut program(&["-u", &server.url(), "--consumers", "2"]));
    group.wait_for_consumers(2);
    let _: () = redis.rpush("consumer:ids", "another-program's").unwrap();
    let _: () = redis.rpush("consumer:ids", b"\x1b[2J\xff\n").unwrap();

    let listed = run(&mut program(&["ids", "--url", &server.url()]));
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    let lines: Vec<_> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{}", listed.stdout);
    assert!(lines[..2].iter().all(|line| line.contains("renewed ")), "{}", listed.stdout);
    assert!(lines[2].starts_with("another-program's") && lines[2].ends_with("no lease"), "{}", listed.stdout);

    assert!(lines[3].starts_with("\\u{1b}[2J\u{fffd}\\n  "), "{}", listed.stdout);

    let cleared = run(&mut program(&["ids", "clear", "--url", &server.url()]));
    assert_eq!(
        (cleared.code, cleared.stdout.contains("4 ids")),
        (0, true),
        "{}{}",
        cleared.stdout,
        cleared.stderr
    );
    group.signal(Signal::TERM);
    assert_eq!(group.end().await.code, 0);
}

#[tokio::test]
async fn a_server_that_is_not_reachable_is_an_error() {
    let mut server = PrivateServer::builder().start().await.unwrap();
    server.kill().unwrap();
    let end = run(&mut program(&["ids", "--url", &server.url()]));
    assert_eq!(end.code, 69, "{}", end.stderr);
}
