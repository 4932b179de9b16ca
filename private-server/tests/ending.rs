//! How a server ends and restarts.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod common;

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use common::connect;
use redis_private_server::{Error, PrivateServer};
use rustix::process::{Pid, test_kill_process, test_kill_process_group};
use tokio::time::{sleep, timeout};

async fn set(server: &PrivateServer, value: u32) {
    let mut connection = connect(&server.url()).await;
    let _: () = redis::cmd("SET").arg("k").arg(value).query_async(&mut connection).await.unwrap();
}

async fn get(server: &PrivateServer) -> Option<u32> {
    redis::cmd("GET").arg("k").query_async(&mut connect(&server.url()).await).await.unwrap()
}

#[tokio::test]
async fn a_dropped_server_leaves_no_process_and_no_folder() {
    for frozen in [false, true] {
        let server = PrivateServer::builder().start().await.unwrap();
        if frozen {
            server.freeze().unwrap();
        }
        let (addr, pid, folder) = (server.addr(), server.pid().unwrap(), server.folder().to_owned());
        assert!(folder.exists());
        drop(server);
        assert!(TcpStream::connect(addr).is_err());
        assert!(!exists(pid));
        assert!(!folder.exists());
    }
}

#[tokio::test]
async fn a_process_that_a_server_forked_ends_with_it() {
    let server = PrivateServer::builder().arg("rdb-key-save-delay", 10_000_000).start().await.unwrap();
    set(&server, 1).await;
    let mut connection = connect(&server.url()).await;
    let _: String = redis::cmd("BGSAVE").query_async(&mut connection).await.unwrap();
    let group = Pid::from_raw(server.pid().unwrap().try_into().unwrap()).unwrap();
    let folder = server.folder().to_owned();
    drop(server);
    // The system's first process waits for the orphan a moment later.
    timeout(Duration::from_secs(5), async {
        while test_kill_process_group(group).is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_frozen_server_answers_only_after_it_is_thawed() {
    let server = PrivateServer::builder().start().await.unwrap();
    let mut connection = connect(&server.url()).await;
    server.freeze().unwrap();
    server.freeze().unwrap();
    let mut asked =
        std::pin::pin!(async { redis::cmd("ECHO").arg("late").query_async::<String>(&mut connection).await });
    assert!(timeout(Duration::from_millis(100), &mut asked).await.is_err());
    server.thaw().unwrap();
    assert_eq!(asked.await.unwrap(), "late");
    server.freeze().unwrap();
    server.thaw().unwrap();
    connect(&server.url()).await;
}

#[tokio::test]
async fn a_restart_keeps_the_port_and_the_appended_data() {
    let mut server = PrivateServer::builder().appendonly_always().start().await.unwrap();
    let (port, pid) = (server.port(), server.pid());
    set(&server, 1).await;
    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    assert_eq!(get(&server).await, Some(1));

    set(&server, 2).await;
    server.kill().unwrap();
    server.restart().await.unwrap();
    assert_eq!(get(&server).await, Some(2));

    server.freeze().unwrap();
    server.restart().await.unwrap();
    assert_eq!(get(&server).await, Some(2));
}

#[tokio::test]
async fn a_restart_loses_data_that_was_not_appended() {
    let mut server = PrivateServer::builder().start().await.unwrap();
    set(&server, 1).await;
    server.restart().await.unwrap();
    assert_eq!(get(&server).await, None);
}

#[tokio::test]
async fn a_stopped_server_reports_that_it_does_not_run() {
    let mut server = PrivateServer::builder().start().await.unwrap();
    let pid = server.pid().unwrap();
    server.stop().await.unwrap();
    assert!(!exists(pid));
    assert!(TcpStream::connect(server.addr()).is_err());
    assert_eq!(server.pid(), None);
    assert!(matches!(server.freeze(), Err(Error::NotRunning { .. })));
    server.stop().await.unwrap();
    server.kill().unwrap();
    server.restart().await.unwrap();
    connect(&server.url()).await;
}

#[tokio::test]
async fn a_server_that_ended_by_itself_is_noticed() {
    let mut server = PrivateServer::builder().start().await.unwrap();
    let mut connection = connect(&server.url()).await;
    let _ = redis::cmd("SHUTDOWN").arg("NOSAVE").query_async::<()>(&mut connection).await;
    timeout(Duration::from_secs(5), async {
        while server.pid().is_some() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert!(matches!(server.thaw(), Err(Error::NotRunning { .. })));
    server.restart().await.unwrap();
    connect(&server.url()).await;
}

#[tokio::test]
async fn a_restart_waits_for_a_port_that_is_briefly_taken() {
    let mut server = PrivateServer::builder().start().await.unwrap();
    server.kill().unwrap();
    let other = TcpListener::bind(server.addr()).unwrap();
    assert!(matches!(server.restart().await, Err(Error::NoFreePort { .. })));
    let moment = async {
        sleep(Duration::from_millis(200)).await;
        drop(other);
    };
    let (restarted, ()) = tokio::join!(server.restart(), moment);
    restarted.unwrap();
    connect(&server.url()).await;
}

/// This test runs itself a second time as the owner that is killed.
#[tokio::test]
async fn a_server_ends_when_its_owner_is_killed() {
    const OWNER: &str = "PRIVATE_SERVER_TEST_OWNER";
    if env::var_os(OWNER).is_some() {
        let server = PrivateServer::builder().start().await.unwrap();
        println!("\nowns {} {}", server.pid().unwrap(), server.folder().display());
        sleep(Duration::from_secs(60)).await;
        return;
    }
    let mut owner = Command::new(env::current_exe().unwrap())
        .args(["a_server_ends_when_its_owner_is_killed", "--exact", "--nocapture"])
        .env(OWNER, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap());
    let (pid, folder) = loop {
        let mut line = String::new();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the owner ended early");
        if let Some((pid, folder)) = line.trim().strip_prefix("owns ").and_then(|rest| rest.split_once(' ')) {
            break (pid.parse().unwrap(), Path::new(folder).to_owned());
        }
    };
    assert!(exists(pid) && folder.exists());
    owner.kill().unwrap();
    owner.wait().unwrap();
    // Only the owner holds its stdout, so this read ends when the owner does.
    lines.read_to_string(&mut String::new()).unwrap();
    timeout(Duration::from_secs(5), async {
        while exists(pid) || folder.exists() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
}

/// Whether this process still exists, alive or not yet waited for.
fn exists(pid: u32) -> bool {
    test_kill_process(Pid::from_raw(pid.try_into().unwrap()).unwrap()).is_ok()
}
