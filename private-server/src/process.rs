//! The server's process, from its start to its last wait.

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

/// What the program is started as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// Has data of its own.
    #[default]
    Server,
    /// Watches servers.
    Sentinel,
}

/// A running child in a process group of its own, together with what it forks (rewrites of its files).
///
/// The child is waited for in [`Process::kill`] only. Until then its pid cannot be given to anyone else, so a
/// signal always reaches this server or what is left of it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    /// Kills it when its owner cannot.
    guard: Arc<Guard>,
    /// Set once the pid has been given back. No signal may be sent from then on.
    ended: Option<ExitStatus>,
}

impl Process {
    /// Everything else the server needs to know is in the file `config`: arguments are visible to every user
    /// of the machine, and passwords are among them.
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
        // From here on it is killed when this is dropped.
        let process = Self { child, pid, guard: guard.clone(), ended: None };
        stdin.map_or(Ok(()), |stdin| guard.release(pid, stdin))?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the server has ended. Does not give its pid back.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None))
    }

    /// Returns when the server stands still, not merely when the signal is on its way. False if it ended.
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

    /// Lets a frozen server go on. False if it has ended.
    pub(crate) fn thaw(&self) -> io::Result<bool> {
        kill_process(self.pid, Signal::CONT)?;
        Ok(!self.has_ended())
    }

    /// Asks the server to end, and waits for it up to `limit`. One that does not listen is killed.
    pub(crate) async fn stop(mut self, limit: Duration) -> io::Result<ExitStatus> {
        kill_process(self.pid, Signal::TERM)?;
        // A frozen server takes no SIGTERM.
        kill_process(self.pid, Signal::CONT)?;
        let deadline = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
        self.kill()
    }

    /// SIGKILL for the server and everything it forked, then waits. Works on a frozen server too. How it
    /// ended, which is how it ended by itself if it did before.
    pub(crate) fn kill(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        // Fails when nobody is left in the group, which is the aim.
        let _ = kill_process_group(self.pid, Signal::KILL);
        // Not before, or a `kill -9` of the owner in between would leave the server; and not after the wait.
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
