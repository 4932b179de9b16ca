//! Ends the server when its owner cannot: after SIGKILL, or an abort.

use std::{
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::Pid;

/// `read` returns when the other end of its stdin is closed, which the system does when the owner dies,
/// however it dies. Then the server's whole process group goes, and its folder.
const SCRIPT: &str = r#"read -r _; kill -s KILL -- "-$1"; rm -rf -- "$2""#;

/// A shell that outlives its owner by some milliseconds.
///
/// Owned by the process it guards. It must end *before* the server's pid is given back to the system: a
/// watchdog left behind could kill whoever gets that pid next.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Guards the process group `server`. Its only tie to this process is the pipe at its stdin; a pipe kept
    /// open at stdout would make whoever captures our output wait for it.
    pub(crate) fn start(server: Pid, folder: &Path) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "redis-private-server-watchdog"])
            .arg(server.as_raw_nonzero().to_string())
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { shell })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Not `wait` first: that closes the pipe, and the shell would do its work.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
