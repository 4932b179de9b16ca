//! The program as a child process that a test reads from and signals.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// Longer than any wait takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// The running program. It is killed if the test ends first.
pub(crate) struct Program {
    child: Child,
    stderr: BufReader<ChildStderr>,
    heard: String,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, |_| ())
    }

    pub(crate) fn start_with(arguments: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redis-consumer-group"));
        // The environment of the test must not set options of the program.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RCG_")) {
            command.env_remove(name);
        }
        command
            .env_remove("REDIS_URL")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        Self { child, stderr, heard: String::new() }
    }

    /// Waits for a line on stderr that contains this, and returns it.
    pub(crate) async fn hears(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = timeout(LONG, self.stderr.read_line(&mut line)).await;
            let read =
                read.unwrap_or_else(|_| panic!("no {words:?} in time, only:\n{}", self.heard)).unwrap();
            assert!(read > 0, "ended without {words:?}:\n{}", self.heard);
            self.heard += &line;
            if line.contains(words) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end. The output has everything that was written to stderr.
    pub(crate) async fn end(mut self) -> Output {
        let mut rest = String::new();
        let both = async {
            self.stderr.read_to_string(&mut rest).await.unwrap();
            self.child.wait_with_output().await.unwrap()
        };
        let output = timeout(LONG, both).await.expect("the program ends");
        Output { stderr: (self.heard + &rest).into_bytes(), ..output }
    }
}

/// The output as texts.
pub(crate) fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}
