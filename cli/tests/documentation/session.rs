//! Runs the commands of a page in order.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::page::{Page, Step, root};
use super::place::Place;
use super::transcript::is_as_said;
use crate::support::{Running, TIMEOUT, run, run_within};

/// Longer than any shortened command takes.
const LIMIT: Duration = Duration::from_secs(240);

pub(crate) struct Session {
    place: Place,
    groups: Vec<Group>,
    /// Programs in Python that share the output. They run until the end of the page, and do not end by themselves.
    workers: Vec<Running>,
}

/// A group that runs until the end of the page.
struct Group {
    at: String,
    running: Running,
    /// The stdout that the page shows.
    printed: Option<String>,
}

impl Session {
    pub(crate) async fn play(page: &Page) {
        let steps = page.steps();
        if steps.is_empty() {
            return;
        }
        let mut session = Self { place: Place::new().await, groups: Vec::new(), workers: Vec::new() };
        // A page may show the command before the file that it needs.
        for step in &steps {
            if let Step::File { name, text } = step {
                session.place.file(name, text);
            }
        }
        for step in steps {
            if let Step::Run { at, command, printed } = step {
                session.step(at, &command, printed).await;
            }
        }
        for group in session.groups {
            group.end().await;
        }
    }

    async fn step(&mut self, at: String, command: &str, printed: Option<String>) {
        if let Some(folder) = command.strip_prefix("cargo install --locked --path ") {
            assert!(root().join(folder).join("Cargo.toml").exists(), "{at}: there is no package in {folder}");
            return;
        }
        let command = shortened(command);
        if is_group(&command) {
            let mut shell = self.place.shell(&command).await;
            let mut running = Running::start(&mut shell);
            running.wait_for("started");
            self.groups.push(Group { at, running, printed });
            return;
        }
        if command.starts_with("python3 ") {
            let mut shell = self.place.shell("python3 -c 'import redis'").await;
            assert_eq!(run(&mut shell).code, 0, "{at}: redis-py is missing: python3 -m pip install redis");
            let mut worker = Running::start(&mut self.place.shell(&command).await);
            let printed = printed.unwrap_or_else(|| panic!("{at}: the page does not show what it prints"));
            let lines: Vec<_> = printed.lines().map(|_| worker.line()).collect();
            is_as_said(&printed, &lines.join("\n")).unwrap_or_else(|difference| panic!("{at}: {difference}"));
            self.workers.push(worker);
            return;
        }
        // A terminal shows stdout and stderr together.
        let line = if printed.is_some() { format!("{command} 2>&1") } else { command.clone() };
        let mut shell = self.place.shell(&line).await;
        // A consumer may need a moment to append the records.
        let may_wait = command.contains("XRANGE");
        let until = Instant::now() + TIMEOUT;
        loop {
            let end = run_within(LIMIT, &mut shell);
            assert_eq!(end.code, 0, "{at}: {command}\n{}{}", end.stdout, end.stderr);
            let Some(printed) = &printed else { return };
            match is_as_said(printed, &end.stdout) {
                Ok(()) => return,
                Err(_) if may_wait && Instant::now() < until => sleep(Duration::from_millis(50)).await,
                Err(difference) => panic!("{at}: {command}\n{difference}\nIt printed:\n{}", end.stdout),
            }
        }
    }
}

impl Group {
    async fn end(mut self) {
        let first = self.printed.is_some().then(|| self.running.line());
        self.running.signal(Signal::TERM);
        let end = self.running.end().await;
        assert_eq!(end.code, 0, "{}: {}", self.at, end.stderr);
        assert!(end.stdout.contains("received"), "{}: {}", self.at, end.stdout);
        if let (Some(printed), Some(first)) = (&self.printed, first) {
            let found = format!("{first}\n{}", end.stdout);
            is_as_said(printed, &found).unwrap_or_else(|difference| panic!("{}: {difference}", self.at));
        }
    }
}

/// Whether the command runs a group, which runs until it is stopped.
fn is_group(command: &str) -> bool {
    let mut words = command.split(' ');
    words.next() == Some("redis-consumer-group")
        && words.next().is_some_and(|word| word == "run" || (word.starts_with('-') && word.len() > 2))
}

/// The same command with less to do: the commands of a page take too long for a test.
fn shortened(command: &str) -> String {
    let command = command.replace("scripts/demo", "redis-consumer-group demo");
    let words: Vec<_> = command.split(' ').collect();
    let mut options = Vec::new();
    match words.get(1) {
        Some(_) if words.contains(&"--duration") => options.push(("--duration", "2s")),
        Some(&"demo") => options.push(("--duration", "2s")),
        Some(&"bench") => {
            options.extend([("--runs", "1"), ("--messages", "2000"), ("--latency-time", "300ms")]);
            if !command.contains("--source sharded") {
                options.extend([("--consumers", "1,2"), ("--rates", "1000")]);
            }
            if command.contains("--baseline") {
                // Such short runs do not measure throughput.
                options.push(("--tolerance", "99.9%"));
            }
        }
        _ => return command,
    }
    let mut kept = words.clone();
    for (name, _) in &options {
        if let Some(at) = kept.iter().position(|word| word == name) {
            kept.drain(at..=at + 1);
        }
    }
    let added = options.iter().map(|(name, value)| format!(" {name} {value}"));
    format!("{}{}", kept.join(" "), added.collect::<String>())
}
