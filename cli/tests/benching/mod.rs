//! Benches as child processes, and the servers that they run on.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use redis_private_server::PrivateServer;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::redis::ask;
use crate::support::{Running, TIMEOUT, program};

/// A bench with its own folder for temporary files. The name of the folder also marks its processes.
pub(crate) struct Bench {
    pub(crate) program: Running,
    pub(crate) folder: TempDir,
}

impl Bench {
    /// Starts it with these options.
    pub(crate) fn start(options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program(&["bench"]);
        command.args(options.split(' '));
        let program = Running::start(command.env("TMPDIR", folder.path()));
        Self { program, folder }
    }

    pub(crate) fn on(server: &PrivateServer, options: &str) -> Self {
        Self::start(&format!("--yes --url {} {options}", server.url()))
    }

    /// The exit code, stdout and stderr. Checks that no file or process of the bench is left.
    pub(crate) async fn end(self) -> (i32, String, String) {
        let said = self.program.end().await;
        let files: Vec<_> = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.is_empty(), "{files:?}");
        has_no_processes(self.folder.path()).await;
        (said.code, said.stdout, said.stderr)
    }

    /// Checks that it succeeds. Returns stdout and stderr.
    pub(crate) async fn succeeds(self) -> (String, String) {
        let (code, stdout, stderr) = self.end().await;
        assert_eq!(code, 0, "{stderr}");
        (stdout, stderr)
    }

    /// Ends it with a signal, and checks that nothing is left.
    pub(crate) async fn interrupt(self, signal: Signal) {
        self.program.signal(signal);
        let (code, stdout, stderr) = self.end().await;
        assert_eq!((code, &*stdout), (1, ""), "{stderr}");
        assert!(stderr.contains("nothing is left"), "{stderr}");
    }

    /// Checks that it ends with this code and an error that contains these texts. It is one line, but for usage errors
    /// that lead to --help.
    pub(crate) async fn fails(self, code: i32, texts: &[&str]) {
        let (found, stdout, stderr) = self.end().await;
        assert_eq!((found, &*stdout), (code, ""), "{stderr}");
        assert!(texts.iter().all(|text| stderr.contains(text)), "{texts:?}: {stderr}");
        assert!(stderr.lines().count() == 1 || stderr.ends_with("'--help'.\n"), "{stderr}");
    }
}

/// Waits until no process of the folder's bench is left. A killed one is still listed for a moment.
pub(crate) async fn has_no_processes(folder: &Path) {
    let until = Instant::now() + TIMEOUT;
    while !marked(folder).is_empty() {
        assert!(Instant::now() < until, "{:?}", marked(folder));
        sleep(Duration::from_millis(50)).await;
    }
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

pub(crate) fn keys(server: &PrivateServer) -> Vec<String> {
    ask(server, "KEYS *")
}

/// Waits until the server has a key that begins like this.
pub(crate) async fn has_key(server: &PrivateServer, prefix: &str) {
    let until = Instant::now() + TIMEOUT;
    while !keys(server).iter().any(|key| key.starts_with(prefix)) {
        assert!(Instant::now() < until, "no key begins with {prefix:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The number with this name.
pub(crate) fn count(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name}: {of}"))
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Checks that the peak memory was measured. Only Linux reports it.
pub(crate) fn assert_has_memory(measured: &Value) {
    let memory = measured["peak_memory"].as_u64();
    assert!(memory.is_some() || !cfg!(target_os = "linux"), "{measured}");
}
