//! A stderr that is not read.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep};

#[tokio::test]
async fn a_full_stderr_pipe_blocks_neither_messages_nor_the_end() {
    let server = PrivateServer::builder().start().await.unwrap();
    let (unread, stderr) = io::pipe().unwrap();
    let mut full = stderr.try_clone().unwrap();
    // More than a pipe holds: this thread blocks until the pipe is closed.
    std::thread::spawn(move || full.write_all(&vec![b'.'; 4 << 20]));

    let mut program = Command::new(env!("CARGO_BIN_EXE_redis-consumer-group"))
        .args(["-u", &server.url(), "--max-messages", "100", "--log", "trace"])
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let status = loop {
        // Each message is rejected, which logs a warning.
        redis::cmd("PUBLISH")
            .arg("messages:published")
            .arg("no object")
            .exec_async(&mut redis)
            .await
            .unwrap();
        if let Some(status) = program.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            program.kill().unwrap();
            panic!("it hangs");
        }
        sleep(Duration::from_millis(5)).await;
    };
    drop(unread);
    let mut stdout = String::new();
    program.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    assert!(status.success(), "{status}");
    assert!(stdout.contains("received 10") && stdout.contains("= processed 0 + rejected 10"), "{stdout}");
}
