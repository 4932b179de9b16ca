//! The program with a service that sentinels monitor.

mod support;

use redis_private_server::{PrivateSentinels, PrivateServer};
use rustix::process::Signal;
use support::cluster::{calls, eventually};
use support::{Running, TIMEOUT, program, published_so_far, run};

#[tokio::test]
async fn every_subcommand_finds_the_primary_through_its_sentinels() {
    let primary = PrivateServer::builder().start().await.unwrap();
    let sentinel = || PrivateServer::builder().password("asks");
    let sentinels = PrivateSentinels::start(sentinel, 3, "mymaster", &primary, 0).await.unwrap();
    let url = format!("redis+sentinel://{}/mymaster?sentinel_password=asks", sentinels.addrs());
    let mut group = Running::start(&mut program(&["--url", &url, "--consumers", "2"]));
    group.wait_for_consumers(2);

    let published = run(&mut program(&["load", "--url", &url, "--count", "100"]));
    assert_eq!(published.code, 0, "{}", published.stderr);
    let listed = run(program(&["ids"]).env("RCG_URL", &url));
    assert_eq!((listed.code, listed.stdout.lines().count()), (0, 2), "{}{}", listed.stdout, listed.stderr);

    group.signal(Signal::TERM);
    let end = group.end().await;
    assert_eq!(end.code, 0, "{}", end.stderr);
    assert!(end.stdout.contains("received 100 = processed 100"), "{}", end.stdout);
}

#[tokio::test]
async fn publishing_continues_at_the_promoted_server() {
    let mut primary = PrivateServer::builder().arg("repl-diskless-sync-delay", 0).start().await.unwrap();
    let replica = PrivateServer::builder().arg("replicaof", format!("127.0.0.1 {}", primary.port()));
    let replica = replica.start().await.unwrap();
    let sentinels =
        PrivateSentinels::start(PrivateServer::builder, 3, "mymaster", &primary, 1).await.unwrap();
    let url = format!("redis+sentinel://{}/mymaster", sentinels.addrs());
    for to in ["channel", "stream"] {
        let load = ["load", "--url", &url, "--rate", "1000", "--to", to, "--channel", to];
        let load = Running::start(&mut program(&load));
        let (at, command) = match to {
            "channel" => (&primary, "publish"),
            _ => (&replica, "xadd"),
        };
        eventually("messages are published", TIMEOUT, || calls(at, command) > 100).await;
        if to == "channel" {
            primary.kill().unwrap();
            // Its count also includes replicated messages and a few messages between the sentinels.
            let before = calls(&replica, command);
            eventually("the other one gets them", 3 * TIMEOUT, || calls(&replica, command) > before + 200)
                .await;
        }
        load.signal(Signal::TERM);
        let end = load.end().await;
        assert!(!end.stderr.contains("error") && !end.stderr.contains("not published"), "{}", end.stderr);
        assert!(published_so_far(&end) >= 100, "{}", end.stdout);
        assert_eq!(end.code, i32::from(end.stderr.contains("did not answer")), "{}", end.stderr);
    }
}

#[tokio::test]
async fn each_error_of_the_sentinels_has_its_exit_code() {
    let primary = PrivateServer::builder().start().await.unwrap();
    let sentinel = || PrivateServer::builder().password("asks");
    let mut sentinels = PrivateSentinels::start(sentinel, 1, "mymaster", &primary, 0).await.unwrap();
    let url = |service: &str, password: &str| {
        format!("redis+sentinel://{}/{service}?sentinel_password={password}", sentinels.addrs())
    };
    let (wrong, unknown, right) = (url("mymaster", "hush"), url("another", "asks"), url("mymaster", "asks"));
    for subcommand in ["run", "ids", "publish", "load"] {
        for (url, code, says) in [
            (&wrong, 77, "refused the login at this sentinel"),
            (&unknown, 78, "knows a service \"another\""),
        ] {
            let end = run(&mut program(&[subcommand, "--url", url]));
            assert_eq!(end.code, code, "{subcommand}: {}", end.stderr);
            assert!(
                end.stderr.contains(says) && !end.stderr.contains("hush"),
                "{subcommand}: {}",
                end.stderr
            );
        }
    }
    let taken_for_a_server = format!("redis://:asks@{}", sentinels.addrs());
    let taken_for_a_sentinel = format!("redis+sentinel://{}/mymaster", primary.addr());
    for (url, code, says) in [
        (taken_for_a_server, 78, "is a sentinel, not a server"),
        (taken_for_a_sentinel, 69, "is not a sentinel: ERR unknown command"),
    ] {
        let end = run(&mut program(&["run", "--url", &url]));
        assert!(end.code == code && end.stderr.contains(says), "{}: {}", end.code, end.stderr);
    }
    sentinels.sentinel(0).kill().unwrap();
    let end = run(&mut program(&["ids", "--url", &right]));
    assert_eq!(end.code, 69, "{}", end.stderr);
    assert!(end.stderr.contains(&sentinels.addrs()), "{}", end.stderr);
}
