//! Ends child processes and removes their folder when the owner ends, in any way.

use std::{
    env,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Pid;

/// The longest socket path, in bytes, that every Unix accepts (104 on macOS, including the terminating zero).
const SOCKET_PATH: usize = 103;

/// How many folder names to try.
const NAMES: u32 = 100;

/// Makes the folder `$1` and reports it. Then it reads which process groups to kill, until the other end of its stdin
/// is closed: by the owner, or by the system when the owner has died. Then it kills the groups and removes the folder.
/// It repeats the removal, because a process that was just killed may have been writing.
const SCRIPT: &str = r#"
trap '' HUP INT TERM PIPE
mkdir -m 700 -- "$1" 2> /dev/null || exit 1
echo made
exec > /dev/null
groups=
while read -r order group; do
    if [ "$order" = watch ]; then
        groups="$groups $group"
    else
        others=
        for other in $groups; do [ "$other" = "$group" ] || others="$others $other"; done
        groups=$others
    fi
done
for group in $groups; do kill -s KILL -- "-$group"; done
for _ in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$1"
    [ -e "$1" ] || exit 0
    sleep 0.1
done
"#;

/// Waits for a line on stdin, then becomes the program, with the same pid. Ends if stdin closes without a line.
const WAIT: &str = r#"read -r _ && exec "$0" "$@" < /dev/null"#;

/// Owns a folder and processes, which end with their owner, in whatever way the owner ends.
///
/// The guard is a shell that outlives its owner by the few milliseconds that it takes to kill the processes and to
/// remove the folder. It runs before anything that it guards starts, so a `kill -9` of the owner never leaves anything
/// behind. When `drop` returns, the processes and the folder are gone.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
    folder: PathBuf,
}

impl Guard {
    /// Makes a folder that only its owner can open: in the temporary folder, or in `/tmp` if the path would be too long
    /// for a socket.
    ///
    /// # Errors
    /// The folder cannot be made, or there is no `/bin/sh`.
    pub fn start() -> io::Result<Self> {
        // The owner's pid in the name shows whose folder it is.
        let name = || format!("redis-private-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let mut place = env::temp_dir();
        if place.join(name()).join("server.sock").as_os_str().as_bytes().len() > SOCKET_PATH {
            place = PathBuf::from("/tmp");
        }
        for _ in 0..NAMES {
            if let Some(guard) = Self::of(place.join(name()))? {
                return Ok(guard);
            }
        }
        Err(io::Error::other(format!("no folder could be made in {}", place.display())))
    }

    /// Returns `None` if the folder could not be made, for example because it exists.
    fn of(folder: PathBuf) -> io::Result<Option<Self>> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "redis-private-server-guard"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal goes to the owner's process group.
            .process_group(0)
            .spawn()?;
        let mut said = String::new();
        if let Some(stdout) = &mut shell.stdout {
            stdout.read_to_string(&mut said)?;
        }
        if said.is_empty() {
            shell.wait()?;
            return Ok(None);
        }
        Ok(Some(Self { shell, folder }))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A command that starts a program in its own process group. The program waits for [`Guard::release`], so an owner
    /// that is killed before that leaves nothing behind. The command uses its stdin for this; the program gets an empty
    /// stdin.
    pub fn command(program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        // A Ctrl-C in the terminal goes to the owner's process group. The owner decides when each process ends.
        command.args(["-c", WAIT]).arg(program).stdin(Stdio::piped()).process_group(0);
        command
    }

    /// Lets a process that was started with [`Guard::command`] continue. From now on, the guard kills its group when
    /// the owner ends.
    ///
    /// # Errors
    /// The guard has ended.
    pub fn release(&self, pid: Pid, mut stdin: impl Write) -> io::Result<()> {
        self.tell("watch", pid)?;
        // This fails if the process has already ended, which the caller notices soon.
        let _ = stdin.write_all(b"\n");
        Ok(())
    }

    /// Stops guarding a process that has ended. Call it before the process is waited for: afterwards the system may
    /// give its pid to another process.
    pub fn forget(&self, pid: Pid) {
        // This fails if the guard has ended. Then it does not kill anything either.
        let _ = self.tell("forget", pid);
    }

    fn tell(&self, order: &str, pid: Pid) -> io::Result<()> {
        let Some(mut stdin) = self.shell.stdin.as_ref() else { return Ok(()) };
        stdin.write_all(format!("{order} {}\n", pid.as_raw_nonzero()).as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // `wait` closes the shell's stdin first.
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    use rustix::process::{Signal, kill_process, test_kill_process};

    use super::*;

    #[test]
    fn only_the_owner_can_open_the_folder_and_a_dropped_guard_removes_it() {
        let guard = Guard::start().unwrap();
        let folder = guard.folder().to_owned();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(folder.join("file"), "text").unwrap();
        drop(guard);
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_that_already_exists_is_not_used() {
        let other = tempfile::tempdir().unwrap();
        assert!(Guard::of(other.path().to_owned()).unwrap().is_none());
        assert!(other.path().exists());
    }

    #[test]
    fn watched_processes_end_with_the_guard_and_forgotten_ones_do_not() {
        let guard = Guard::start().unwrap();
        let sleeper = || {
            let mut child = Guard::command(Path::new("/bin/sleep")).arg("60").spawn().unwrap();
            guard.release(Pid::from_child(&child), child.stdin.take().unwrap()).unwrap();
            child
        };
        let mut sleepers = [sleeper(), sleeper(), sleeper()];
        guard.forget(Pid::from_child(&sleepers[1]));
        drop(guard);
        assert!(sleepers[1].try_wait().unwrap().is_none());
        sleepers[1].kill().unwrap();
        for mut sleeper in sleepers {
            assert!(!sleeper.wait().unwrap().success());
        }
    }

    #[test]
    fn an_owner_that_dies_before_the_guard_watches_leaves_no_process() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("trace");
        let guard = Guard::start().unwrap();
        // `touch` instead of the server: it leaves a file that shows that it ran.
        let mut child = Guard::command(Path::new("/usr/bin/touch")).arg(&trace).spawn().unwrap();
        drop(child.stdin.take());
        assert!(!child.wait().unwrap().success());
        assert!(!trace.exists());

        let mut child = Guard::command(Path::new("/usr/bin/touch")).arg(&trace).spawn().unwrap();
        guard.release(Pid::from_child(&child), child.stdin.take().unwrap()).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(trace.exists());
    }

    #[test]
    fn a_guard_whose_owner_dies_before_it_reports_its_folder_removes_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("folder");
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "redis-private-server-guard"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(shell.stdout.take());
        assert!(shell.wait().unwrap().success());
        assert!(!folder.exists());
    }

    #[tokio::test]
    async fn a_guard_survives_the_signals_of_a_terminal() {
        let guard = Guard::start().unwrap();
        let pid = Pid::from_child(&guard.shell);
        for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
            kill_process(pid, signal).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(test_kill_process(pid).is_ok() && guard.folder().exists());
    }
}
