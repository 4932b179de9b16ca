//! One process of the group: this program again, as `run --source stream`.

use std::env;
use std::process::{ChildStdin, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use redis_private_server::Guard;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::exit::{self, Coded};

/// Killed when it is dropped, and when this process is killed.
pub(super) struct Process {
    child: Child,
    guard: Arc<Guard>,
    /// Its process id.
    pub(super) pid: u32,
    /// The ids of its consumers.
    pub(super) consumers: Vec<String>,
    stdout: Output,
    stderr: Output,
}

/// The latest lines.
type Kept = Arc<Mutex<Vec<String>>>;

/// Reads a pipe to its end, so that the process is never blocked by a full one.
struct Output {
    lines: Kept,
    task: JoinHandle<()>,
}

impl Process {
    /// Starts it, and waits until it reads.
    ///
    /// # Errors
    /// If it fails, with its output.
    pub(super) async fn start(server: &str, lease: Duration, guard: &Arc<Guard>) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find this program to start it again")?;
        let mut command = Command::from(Guard::command(&program));
        for (name, _) in env::vars_os() {
            // The user's settings are for other servers.
            if name.to_string_lossy().starts_with("RCG_") || name == "REDIS_URL" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["run", "--source", "stream", "--redis-addr", server, "--log", "info"])
            .args(["--report-every", "1s", "--lease", &humantime::format_duration(lease).to_string()])
            .args(["--consumers", &super::setup::CONSUMERS.to_string()])
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start another process of this program")?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (child.id(), pipes) else {
            bail!("a process that was just started has no id or no pipes")
        };
        let group = pid_of(pid).context("a process has no id")?;
        guard.release(group, ChildStdin::from(stdin.into_owned_fd()?)).context("cannot guard a process")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        let started = timeout(TIMEOUT, started(&mut lines, &mut said)).await;
        let mut process = Self {
            child,
            guard: guard.clone(),
            pid,
            consumers: Vec::new(),
            stdout: Output::read(BufReader::new(stdout).lines(), Vec::new()),
            stderr: Output::read(lines, said),
        };
        match started {
            Ok(Some(consumers)) => process.consumers = consumers,
            Ok(None) => return Err(process.unexpected_end().await),
            Err(_) => return Err(process.failed(exit::FAILED, "does not start to read")),
        }
        Ok(process)
    }

    /// Waits until it ends by itself, which is an error. Cancel safe.
    pub(super) async fn unexpected_end(&mut self) -> anyhow::Error {
        let status = self.child.wait().await;
        self.read_all().await;
        let code = status.ok().and_then(|status: ExitStatus| status.code()).unwrap_or(exit::FAILED.into());
        self.failed(u8::try_from(code).unwrap_or(exit::FAILED), "ended during the demo")
    }

    /// Kills it, as `kill -9` does, and waits until it has ended. Returns the ids of its consumers.
    pub(super) async fn kill(&mut self) -> anyhow::Result<Vec<String>> {
        self.child.kill().await.with_context(|| format!("cannot kill process {}", self.pid))?;
        Ok(std::mem::take(&mut self.consumers))
    }

    /// Sends SIGTERM.
    pub(super) fn ask_to_stop(&self) -> anyhow::Result<()> {
        pid_of(self.pid)
            .map_or(Ok(()), |pid| kill_process(pid, Signal::TERM))
            .with_context(|| format!("cannot signal process {}", self.pid))
    }

    /// Waits until it ends after SIGTERM, and returns its ledger.
    ///
    /// # Errors
    /// If it takes too long, or its exit code is not 0; with its output.
    pub(super) async fn ledger(&mut self) -> anyhow::Result<String> {
        let Ok(status) = timeout(TIMEOUT, self.child.wait()).await else {
            return Err(self.failed(exit::FAILED, "does not end"));
        };
        let status = status.with_context(|| format!("cannot wait for process {}", self.pid))?;
        self.read_all().await;
        match self.stdout.last() {
            Some(ledger) if status.success() => Ok(ledger),
            _ => Err(self.failed(exit::FAILED, &format!("ended with {status}"))),
        }
    }

    /// An error with its output.
    fn failed(&self, code: u8, how: &str) -> anyhow::Error {
        let said = [self.stdout.lines(), self.stderr.lines()].concat().join("\n  ");
        let text = format!("process {} {how}; please report it. Its output:\n  {said}", self.pid);
        Coded { code: code.max(1), text }.into()
    }

    /// Waits until both pipes have been read to their end.
    async fn read_all(&mut self) {
        for output in [&mut self.stdout, &mut self.stderr] {
            // A grandchild process may keep a pipe open.
            let _ = timeout(Duration::from_secs(1), &mut output.task).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has already ended.
        let _ = self.child.start_kill();
        if let Some(pid) = pid_of(self.pid) {
            self.guard.forget(pid);
        }
    }
}

/// A process id in the form for signals.
fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Longer than a start or a stop may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The ids of the consumers when all have started. `None` if the process ended before.
async fn started(lines: &mut Lines<BufReader<ChildStderr>>, said: &mut Vec<String>) -> Option<Vec<String>> {
    let mut consumers = Vec::new();
    while consumers.len() < super::setup::CONSUMERS {
        let line = lines.next_line().await.ok()??;
        let id = line.strip_suffix(" started").and_then(|line| line.rsplit(' ').next());
        consumers.extend(id.map(str::to_owned));
        said.push(line);
    }
    Some(consumers)
}

impl Output {
    /// Enough for an error message.
    const MOST: usize = 100;

    fn read(
        mut lines: Lines<BufReader<impl AsyncRead + Send + Unpin + 'static>>,
        first: Vec<String>,
    ) -> Self {
        let kept = Arc::new(Mutex::new(first));
        let all = kept.clone();
        // Ends with the pipe, which the end of the process closes.
        let task = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                if all.len() == Self::MOST {
                    all.remove(0);
                }
                all.push(line);
            }
        });
        Self { lines: kept, task }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last(&self) -> Option<String> {
        self.lines().pop()
    }
}
