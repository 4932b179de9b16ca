//! Whatever the program starts ends with it, at whatever moment a signal comes.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::program;
use tokio::time::{Instant, sleep};

/// Those that start servers, and most of them processes of this program as well.
const COMMANDS: [&[&str]; 5] = [
    &["demo", "--duration", "2s"],
    &["demo", "--source", "stream", "--duration", "2s"],
    &["demo", "--source", "sharded", "--duration", "2s"],
    &["bench", "--runs", "1", "--messages", "20000", "--consumers", "1"],
    &["bench", "--source", "sharded", "--runs", "1", "--messages", "20000", "--consumers", "1"],
];
const SIGNALS: [Signal; 4] = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];

/// How long what was started may outlive a program that was killed: guards work, on a machine that is busy.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// The program with the default handling of signals, also where the tests ignore some, as under `nohup`.
fn with_default_signals(program: &Command) -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

async fn is_over(child: &mut Child, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() >= until {
            return false;
        }
        sleep(Duration::from_millis(5)).await;
    }
    true
}

/// Every process that was started with this folder for temporary files, or works in it.
fn processes_in(folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let place = entry.unwrap().path();
        // Most are no processes, and some have ended since.
        let environment = fs::read(place.join("environ")).unwrap_or_default();
        let works_at = fs::read_link(place.join("cwd")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(folder) || works_at.starts_with(folder) {
            let command = fs::read(place.join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&command).replace('\0', " "));
        }
    }
    found
}

/// Interrupts the program so many times, and looks at what is left.
async fn interrupt(times: usize) {
    let seed = std::env::var("RCG_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("RCG_SEED={seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    for round in 0..times {
        let command = COMMANDS[round % COMMANDS.len()];
        let signal = SIGNALS[round % SIGNALS.len()];
        // Half of them while it starts, when the most is under way.
        let most = if chance.bool() { 200 } else { 3_000 };
        let delay = Duration::from_millis(chance.u64(0..most));
        let story = format!("{command:?}, {signal:?} after {delay:?}");
        let folder = tempfile::tempdir().unwrap();
        let mut child = with_default_signals(&program(command))
            .env("TMPDIR", folder.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(delay).await;
        let pid = Pid::from_child(&child);
        // It may be over already.
        let _ = kill_process(pid, signal);
        if !is_over(&mut child, Duration::from_secs(3)).await {
            // Asked once, it finishes what it has begun.
            let _ = kill_process(pid, signal);
            assert!(is_over(&mut child, AFTERWARDS).await, "it does not end: {story}");
        }
        let until = Instant::now() + AFTERWARDS;
        let left = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let files: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            (processes_in(folder.path()), files)
        };
        while left() != (Vec::new(), Vec::new()) {
            assert!(Instant::now() < until, "{:?} are left of {story}", left());
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn nothing_that_was_started_survives_an_interruption() {
    interrupt(12).await;
}

mod long {
    #[tokio::test]
    #[ignore = "takes minutes; scripts/test --long runs it"]
    async fn nothing_survives_two_hundred_interruptions() {
        super::interrupt(200).await;
    }
}
