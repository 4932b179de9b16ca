//! The server's process, from its start to its last wait.

use std::{
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::time::{Instant, sleep};

use crate::{log::Log, watchdog::Watchdog};

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
    /// Ends first, see there. None where there is no `/bin/sh`: then SIGKILL of the owner leaves the server.
    watchdog: Option<Watchdog>,
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
        folder: &Path,
        log: &mut Log,
    ) -> io::Result<Self> {
        let mut child = match spawn(waiting(binary), config, role, folder, log) {
            // Without a shell there is no watchdog either.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut server = Command::new(binary);
                server.stdin(Stdio::null());
                spawn(server, config, role, folder, log)?
            }
            spawned => spawned?,
        };
        let pid = Pid::from_child(&child);
        let watchdog = Watchdog::start(pid, folder).ok();
        if let Some(mut go) = child.stdin.take() {
            // It has ended already, which is noticed soon.
            let _ = go.write_all(b"\n");
        }
        Ok(Self { child, pid, watchdog, ended: None })
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
        self.watchdog = None;
        // Fails when nobody is left in the group, which is the aim.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = self.child.wait()?;
        self.ended = Some(status);
        Ok(status)
    }
}

/// Waits for a line on its stdin, and then becomes the server, with the same pid. Its owner writes the line once the
/// watchdog watches: whoever is killed before that leaves no server behind.
fn waiting(binary: &Path) -> Command {
    const SCRIPT: &str = r#"read -r _ && exec "$0" "$@" < /dev/null"#;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT]).arg(binary).stdin(Stdio::piped());
    command
}

fn spawn(mut command: Command, config: &Path, role: Role, folder: &Path, log: &mut Log) -> io::Result<Child> {
    let output = log.open()?;
    command.arg(config);
    if role == Role::Sentinel {
        command.arg("--sentinel");
    }
    command
        .current_dir(folder)
        .stdout(output.try_clone()?)
        .stderr(output)
        // A Ctrl-C in the terminal goes to the owner's group. The owner drains first.
        .process_group(0)
        .spawn()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_that_dies_before_the_watchdog_watches_leaves_no_server() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        // In the place of the server: it leaves a trace.
        let mut child = waiting(Path::new("/usr/bin/touch")).arg(&trace).spawn().unwrap();
        drop(child.stdin.take());
        assert!(!child.wait().unwrap().success());
        assert!(!trace.exists());

        let mut child = waiting(Path::new("/usr/bin/touch")).arg(&trace).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"\n").unwrap();
        assert!(child.wait().unwrap().success());
        assert!(trace.exists());
    }
}
