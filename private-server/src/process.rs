//! The server's process, from its start until it has been waited for.

use std::{
    io,
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::time::{Instant, sleep};

use crate::{guard::Guard, log::Log};

/// The role in which the program is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Has data of its own.
    #[default]
    Server,
    /// Watches servers.
    Sentinel,
}

/// A running child in its own process group, together with the processes that it forks (to rewrite its files).
///
/// Only [`Process::kill`] waits for the child. Until then the system cannot reuse its pid, so a signal always
/// reaches this server or what is left of it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    /// Kills the process if its owner cannot.
    guard: Arc<Guard>,
    /// Set once the pid has been returned to the system. No signal may be sent from then on.
    ended: Option<ExitStatus>,
}

impl Process {
    /// All settings are in the file `config`, because every user of the machine can see the arguments, and the
    /// settings contain passwords.
    pub(crate) fn spawn(
        binary: &Path,
        config: &Path,
        role: Role,
        guard: &Arc<Guard>,
        log: &mut Log,
    ) -> io::Result<Self> {
        let mut child = spawn(Guard::command(binary), config, role, guard.folder(), log)?;
        let pid = Pid::from_child(&child);
        let stdin = child.stdin.take();
        // From here on, dropping `process` kills it.
        let process = Self { child, pid, guard: guard.clone(), ended: None };
        stdin.map_or(Ok(()), |stdin| guard.release(pid, stdin))?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the server has ended. Does not wait for it, so its pid stays reserved.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Freezes the server and returns when it has stopped, not when the signal was sent. Returns `false` if it has
    /// ended.
    pub(crate) fn freeze(&self) -> io::Result<bool> {
        kill_process(self.pid, Signal::STOP)?;
        let options = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(status) => return Ok(status.is_some_and(|status| status.stopped())),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets a frozen server continue. Returns `false` if it has ended.
    pub(crate) fn thaw(&self) -> io::Result<bool> {
        kill_process(self.pid, Signal::CONT)?;
        Ok(!self.has_ended())
    }

    /// Asks the server to end and waits up to `limit`. A server that still runs then is killed.
    pub(crate) async fn stop(mut self, limit: Duration) -> io::Result<ExitStatus> {
        kill_process(self.pid, Signal::TERM)?;
        // A frozen server does not handle SIGTERM.
        kill_process(self.pid, Signal::CONT)?;
        let deadline = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        self.kill()
    }

    /// Sends SIGKILL to the server and everything it forked, then waits. Works on a frozen server too. Returns its exit
    /// status, which is the earlier one if it had ended by itself.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        // Fails if the group has no processes, which is the goal.
        let _ = kill_process_group(self.pid, Signal::KILL);
        // Not before the kill, or a `kill -9` of the owner in between would leave the server. Not after the wait, which
        // returns the pid to the system.
        self.guard.forget(self.pid);
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

fn spawn(mut command: Command, config: &Path, role: Role, folder: &Path, log: &mut Log) -> io::Result<Child> {
    let output = log.open()?;
    command.arg(config);
    if role == Role::Sentinel {
        command.arg("--sentinel");
    }
    command.current_dir(folder).stdout(output.try_clone()?).stderr(output).spawn()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
