//! Benches as child processes, and the servers that they run on.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use redis_private_server::PrivateServer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::process::{Program, texts};

/// A bench with its own folder for temporary files. The name of the folder also marks its processes.
pub(crate) struct Bench {
    pub(crate) program: Program,
    pub(crate) folder: TempDir,
}

impl Bench {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = [&["bench"], arguments].concat();
        let program = Program::start_with(&arguments, |command| {
            command.env("TMPDIR", folder.path());
        });
        Self { program, folder }
    }

    pub(crate) fn on(server: &PrivateServer, arguments: &[&str]) -> Self {
        Self::start(&[&["--yes", "--url", &server.url()], arguments].concat())
    }

    /// The exit code, stdout and stderr. Checks that no file or process of the bench is left.
    pub(crate) async fn end(self) -> (i32, String, String) {
        let output = self.program.end().await;
        let (stdout, stderr) = texts(&output);
        assert_nothing_is_left(self.folder.path()).await;
        (output.status.code().expect(&stderr), stdout, stderr)
    }
}

async fn assert_nothing_is_left(folder: &Path) {
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.is_empty(), "{files:?}");
    // A killed process is still listed for a moment.
    for _ in 0..100 {
        if marked(folder).is_empty() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", marked(folder));
}

/// Processes that have the folder's name in their environment. Needs `/proc`; empty without it.
pub(crate) fn marked(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    processes("environ", |variables| variables.contains(folder))
}

/// The command lines of the processes whose `/proc` file `file` satisfies `is_one`.
pub(crate) fn processes(file: &str, is_one: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let read = |path: &Path| Some(String::from_utf8_lossy(&fs::read(path).ok()?).replace('\0', " "));
    let processes = processes.filter_map(|process| {
        let process = process.ok()?.path();
        is_one(&read(&process.join(file))?).then(|| read(&process.join("cmdline")))?
    });
    processes.collect()
}

pub(crate) async fn server() -> PrivateServer {
    PrivateServer::builder().start().await.unwrap()
}

pub(crate) fn ask<T: redis::FromRedisValue>(server: &PrivateServer, words: &str) -> T {
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    command.query(&mut connection).unwrap()
}

pub(crate) fn keys(server: &PrivateServer) -> Vec<String> {
    ask(server, "KEYS *")
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Checks that the peak memory was measured. Only Linux reports it.
pub(crate) fn assert_has_memory(measured: &Value) {
    let memory = measured["peak_memory"].as_u64();
    assert!(memory.is_some() || !cfg!(target_os = "linux"), "{measured}");
}
