//! What ends with its owner, however the owner ends.

use std::{
    env,
    io::{self, Read, Write},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Pid;

/// The longest path of a socket in bytes that every Unix takes (104 on macOS, with the zero at its end).
const SOCKET_PATH: usize = 103;

/// How many names are tried for a folder.
const NAMES: u32 = 100;

/// Makes the folder `$1` and says so. Then it reads which process groups to kill, until the other end of its stdin is
/// closed: by the owner, or by the system when the owner has died. Then it kills them, and removes the folder; again and
/// again, because what was just killed may have been about to write.
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

/// Waits for a line on its stdin, and then becomes the program, with the same pid. Ends when the line does not come.
const WAIT: &str = r#"read -r _ && exec "$0" "$@" < /dev/null"#;

/// A folder, and processes, that end with their owner, however the owner ends.
///
/// It is a shell that outlives its owner by some milliseconds: as long as it takes to kill the processes and to remove the
/// folder. It is there before anything that it guards, so there is no moment at which a `kill -9` of the owner leaves
/// something. Dropped, both are gone when `drop` returns.
#[derive(Debug)]
pub struct Guard {
    shell: Child,
    folder: PathBuf,
}

impl Guard {
    /// Makes a folder that only its owner can open. Where the usual place is too deep for a socket, in `/tmp`.
    ///
    /// # Errors
    /// When there is no room for the folder, or no `/bin/sh`.
    pub fn start() -> io::Result<Self> {
        // With the owner's pid, so that a folder says whose it is.
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

    /// `None` when the folder could not be made, as when it is there already.
    fn of(folder: PathBuf) -> io::Result<Option<Self>> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "redis-private-server-guard"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // A Ctrl-C in the terminal goes to the owner's group.
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

    /// The command that starts a program under a guard, in a process group of its own: it waits for [`Guard::release`], and
    /// an owner that is killed before that leaves nothing behind. Its stdin is needed for that; the program has none.
    pub fn command(program: &Path) -> Command {
        let mut command = Command::new("/bin/sh");
        // A Ctrl-C in the terminal goes to the owner's group. The owner decides what ends when.
        command.args(["-c", WAIT]).arg(program).stdin(Stdio::piped()).process_group(0);
        command
    }

    /// Lets a process go on that was started with [`Guard::command`], and kills its group when the owner ends.
    ///
    /// # Errors
    /// When the guard is gone.
    pub fn release(&self, pid: Pid, mut stdin: impl Write) -> io::Result<()> {
        self.tell("watch", pid)?;
        // It has ended already if this fails, which is noticed soon.
        let _ = stdin.write_all(b"\n");
        Ok(())
    }

    /// This process has ended. Said before its pid is given back to the system, which could give it to somebody else.
    pub fn forget(&self, pid: Pid) {
        // Fails when the guard is gone, which kills nobody then.
        let _ = self.tell("forget", pid);
    }

    fn tell(&self, order: &str, pid: Pid) -> io::Result<()> {
        let Some(mut stdin) = self.shell.stdin.as_ref() else { return Ok(()) };
        stdin.write_all(format!("{order} {}\n", pid.as_raw_nonzero()).as_bytes())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Closes its stdin first.
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, time::Duration};

    use rustix::process::{Signal, kill_process, test_kill_process};

    use super::*;

    #[test]
    fn the_folder_is_the_owners_alone_and_goes_with_the_guard() {
        let guard = Guard::start().unwrap();
        let folder = guard.folder().to_owned();
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(folder.join("file"), "text").unwrap();
        drop(guard);
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_that_is_there_already_is_left_alone() {
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
        // In the place of the server: it leaves a trace.
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
    fn a_guard_whose_owner_dies_before_it_speaks_removes_its_folder() {
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
    async fn a_guard_does_not_end_by_the_signals_of_a_terminal() {
        let guard = Guard::start().unwrap();
        let pid = Pid::from_child(&guard.shell);
        for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
            kill_process(pid, signal).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(test_kill_process(pid).is_ok() && guard.folder().exists());
    }
}
