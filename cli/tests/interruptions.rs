//! All processes that the program starts end with it, no matter when a signal comes.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::program;
use tokio::time::{Instant, sleep};

/// The commands that start servers. Most of them also start processes of this program.
const COMMANDS: [&[&str]; 5] = [
    &["demo", "--duration", "2s"],
    &["demo", "--source", "stream", "--duration", "2s"],
    &["demo", "--source", "sharded", "--duration", "2s"],
    &["bench", "--runs", "1", "--messages", "20000", "--consumers", "1"],
    &["bench", "--source", "sharded", "--runs", "1", "--messages", "20000", "--consumers", "1"],
];
const SIGNALS: [Signal; 4] = [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP];

/// How long its processes may outlive a killed program: a guard has to end them, on a busy machine.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// The program with default signal handling, even if the tests ignore signals, as under `nohup`.
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
        // Most entries are not processes, and some processes have ended since.
        let environment = fs::read(place.join("environ")).unwrap_or_default();
        let works_at = fs::read_link(place.join("cwd")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(folder) || works_at.starts_with(folder) {
            let command = fs::read(place.join("cmdline")).unwrap_or_default();
            found.push(String::from_utf8_lossy(&command).replace('\0', " "));
        }
    }
    found
}

/// Interrupts the program this many times, and checks that nothing is left.
async fn interrupt(times: usize) {
    let seed = std::env::var("RCG_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("RCG_SEED={seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    for round in 0..times {
        let command = COMMANDS[round % COMMANDS.len()];
        let signal = SIGNALS[round % SIGNALS.len()];
        // Half of the signals come during the start, when most is in progress.
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
        // The program may have ended already.
        let _ = kill_process(pid, signal);
        if !is_over(&mut child, Duration::from_secs(3)).await {
            // After the first signal it finishes what it has begun.
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
async fn no_started_process_survives_an_interruption() {
    interrupt(12).await;
}

mod long {
    #[tokio::test]
    #[ignore = "takes minutes; scripts/test --long runs it"]
    async fn no_started_process_survives_two_hundred_interruptions() {
        super::interrupt(200).await;
    }
}
