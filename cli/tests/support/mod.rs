//! The program as a child process, and its output.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

pub(crate) mod cluster;
pub(crate) mod redis;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// The program, without the options that the environment of the test sets.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_redis-consumer-group"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("RCG_") || ["REDIS_URL", "RUST_LOG", "NO_COLOR"].contains(&&*name) {
            command.env_remove(&*name);
        }
    }
    command.args(args);
    command
}

/// The exit code and the output of a program that has ended.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the program to its end. If it does not end in time, it is killed and the test fails.
pub(crate) fn run(command: &mut Command) -> Said {
    run_within(TIMEOUT, command)
}

/// Like [`run`], with another limit.
pub(crate) fn run_within(limit: Duration, command: &mut Command) -> Said {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let (tell_ended, ended) = channel::<()>();
    let watchdog = thread::spawn(move || {
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(limit) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(tell_ended);
    watchdog.join().unwrap();
    Said {
        code: output.status.code().expect("it ended by itself, in time"),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The number in `Published N messages in …`. The program must have succeeded.
pub(crate) fn published(said: &Said) -> u64 {
    assert_eq!(said.code, 0, "{}", said.stderr);
    published_so_far(said)
}

/// Like [`published`], with any exit code.
pub(crate) fn published_so_far(said: &Said) -> u64 {
    said.stdout.strip_prefix("Published ").and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap()
}

/// A file with this text.
pub(crate) fn file(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The running program. It is killed if the test fails.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Receiver<String>,
    pub(crate) log: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().map(BufReader::new);
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, stderr) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, stdout, stderr, log: String::new() }
    }

    /// Waits until this many consumers have started. From then on messages are received.
    pub(crate) fn wait_for_consumers(&mut self, consumers: usize) {
        for _ in 0..consumers {
            self.wait_for("started");
        }
    }

    /// Waits for a line of the log with this text, and returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.stderr.recv_timeout(TIMEOUT) {
                Ok(line) => {
                    self.log += &line;
                    self.log.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{error} waiting for {text:?} in:\n{}", self.log),
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The stdin of the program. It must be a pipe.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("stdin is a pipe")
    }

    /// The next line on stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.stdout.as_mut().expect("stdout is open").read_line(&mut line).unwrap();
        assert_ne!(read, 0, "stdout ended; the log is:\n{}", self.log);
        line.trim_end().to_owned()
    }

    /// Closes stdout, as `head` does at its end.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> Said {
        // Meanwhile its stdout is read: a full pipe would block it.
        let read = |mut stdout: BufReader<ChildStdout>| {
            thread::spawn(move || {
                let mut text = String::new();
                stdout.read_to_string(&mut text).unwrap();
                text
            })
        };
        let stdout = self.stdout.take().map(read);
        let status = self.wait().await;
        let stdout = stdout.map(|text| text.join().unwrap()).unwrap_or_default();
        loop {
            match self.stderr.recv_timeout(TIMEOUT) {
                Ok(line) => self.log += &(line + "\n"),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("stderr stays open"),
            }
        }
        let stderr = std::mem::take(&mut self.log);
        Said { code: status.code().unwrap_or_else(|| panic!("killed: {stderr}")), stdout, stderr }
    }

    async fn wait(&mut self) -> ExitStatus {
        let until = tokio::time::Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(tokio::time::Instant::now() < until, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
