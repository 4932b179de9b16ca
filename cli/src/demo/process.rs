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

/// Killed when it is dropped, and when this process is killed itself.
pub(super) struct Process {
    child: Child,
    guard: Arc<Guard>,
    /// What it is called by: its number in the system.
    pub(super) pid: u32,
    /// The ids of its consumers.
    pub(super) consumers: Vec<String>,
    stdout: Listening,
    stderr: Listening,
}

/// The last lines that were heard so far.
type Heard = Arc<Mutex<Vec<String>>>;

/// Reads a pipe to its end, so that nobody waits for it to be emptied.
struct Listening {
    heard: Heard,
    task: JoinHandle<()>,
}

impl Process {
    /// Starts it, and waits until it reads.
    ///
    /// # Errors
    /// When it does not come to that; with all that it said.
    pub(super) async fn start(server: &str, lease: Duration, guard: &Arc<Guard>) -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find this program to start it again")?;
        let mut command = Command::from(Guard::command(&program));
        for (name, _) in env::vars_os() {
            // What is set there is for servers of the user's own.
            if name.to_string_lossy().starts_with("RCG_") || name == "REDIS_URL" {
                command.env_remove(name);
            }
        }
        let mut child = command
            .args(["run", "--source", "stream", "--redis-addr", server, "--log", "info"])
            .args(["--report-every", "1s", "--lease", &humantime::format_duration(lease).to_string()])
            .args(["--consumers", &super::show::CONSUMERS.to_string()])
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start another process of this program")?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(pid), (Some(stdin), Some(stdout), Some(stderr))) = (child.id(), pipes) else {
            bail!("a process that was just started has no number or no pipes")
        };
        let group = number(pid).context("a process has no number")?;
        guard.release(group, ChildStdin::from(stdin.into_owned_fd()?)).context("cannot guard a process")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut said = Vec::new();
        let started = timeout(TIMEOUT, started(&mut lines, &mut said)).await;
        let mut process = Self {
            child,
            guard: guard.clone(),
            pid,
            consumers: Vec::new(),
            stdout: Listening::to(BufReader::new(stdout).lines(), Vec::new()),
            stderr: Listening::to(lines, said),
        };
        match started {
            Ok(Some(consumers)) => process.consumers = consumers,
            Ok(None) => return Err(process.ended().await),
            Err(_) => return Err(process.failed(exit::FAILED, "does not come to read")),
        }
        Ok(process)
    }

    /// Waits for an end that nobody has asked for. May be dropped while it waits.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let status = self.child.wait().await;
        self.hear_all().await;
        let code = status.ok().and_then(|status: ExitStatus| status.code()).unwrap_or(exit::FAILED.into());
        self.failed(u8::try_from(code).unwrap_or(exit::FAILED), "ended in the middle of the demo")
    }

    /// Kills it, as `kill -9` does, and waits until it is gone. The ids of its consumers.
    pub(super) async fn kill(&mut self) -> anyhow::Result<Vec<String>> {
        self.child.kill().await.with_context(|| format!("cannot kill process {}", self.pid))?;
        Ok(std::mem::take(&mut self.consumers))
    }

    /// Asks it to finish, as `kill` does.
    pub(super) fn ask_to_stop(&self) -> anyhow::Result<()> {
        number(self.pid)
            .map_or(Ok(()), |pid| kill_process(pid, Signal::TERM))
            .with_context(|| format!("cannot signal process {}", self.pid))
    }

    /// Waits for the end that was asked for: its ledger.
    ///
    /// # Errors
    /// When it takes too long, or ends with another code than 0; with all that it said.
    pub(super) async fn ledger(&mut self) -> anyhow::Result<String> {
        let Ok(status) = timeout(TIMEOUT, self.child.wait()).await else {
            return Err(self.failed(exit::FAILED, "does not end"));
        };
        let status = status.with_context(|| format!("cannot wait for process {}", self.pid))?;
        self.hear_all().await;
        match self.stdout.last() {
            Some(ledger) if status.success() => Ok(ledger),
            _ => Err(self.failed(exit::FAILED, &format!("ended with {status}"))),
        }
    }

    /// An error with all that it said.
    fn failed(&self, code: u8, how: &str) -> anyhow::Error {
        let said = [self.stdout.heard(), self.stderr.heard()].concat().join("\n  ");
        let text = format!("process {} {how}; please report it. It said:\n  {said}", self.pid);
        Coded { code: code.max(1), text }.into()
    }

    /// Waits until both pipes have ended, which they do with the process.
    async fn hear_all(&mut self) {
        for listening in [&mut self.stdout, &mut self.stderr] {
            // A process that has taken_over a pipe may keep it open.
            let _ = timeout(Duration::from_secs(1), &mut listening.task).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already if this fails.
        let _ = self.child.start_kill();
        if let Some(pid) = number(self.pid) {
            self.guard.forget(pid);
        }
    }
}

/// The number of a process, as signals take it.
fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Longer than a start and a stop may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The ids of the consumers, once all have started. `None` when it ended before.
async fn started(lines: &mut Lines<BufReader<ChildStderr>>, said: &mut Vec<String>) -> Option<Vec<String>> {
    let mut consumers = Vec::new();
    while consumers.len() < super::show::CONSUMERS {
        let line = lines.next_line().await.ok()??;
        let id = line.strip_suffix(" started").and_then(|line| line.rsplit(' ').next());
        consumers.extend(id.map(str::to_owned));
        said.push(line);
    }
    Some(consumers)
}

impl Listening {
    /// More lines than these tell nobody anything.
    const MOST: usize = 100;

    fn to(mut lines: Lines<BufReader<impl AsyncRead + Send + Unpin + 'static>>, heard: Vec<String>) -> Self {
        let heard = Arc::new(Mutex::new(heard));
        let all = heard.clone();
        // It ends with the pipe, which is closed when the process is gone.
        let task = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                if all.len() == Self::MOST {
                    all.remove(0);
                }
                all.push(line);
            }
        });
        Self { heard, task }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn last(&self) -> Option<String> {
        self.heard().pop()
    }
}
