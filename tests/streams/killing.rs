//! Processes are killed, suspended and cut off at random, and every entry ends in the output once.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::fixture::{append_within, assert_nothing_left_behind, drained, soon};
use crate::line::{Condition, Line};
use crate::process::Process;
use crate::support::{OUTPUT, Server, judge};

const PROCESSES: usize = 3;
const CONSUMERS: usize = 4;

/// A process, and the time until which its trouble lasts.
struct Member {
    process: Process,
    line: Line,
    trouble: Option<Instant>,
}

impl Member {
    async fn start(server: &Server) -> Self {
        let line = Line::to(server.addr()).await;
        Self { process: Process::start(&line.url()), line, trouble: None }
    }

    fn recover(&mut self) {
        self.process.wake();
        self.line.set(Condition::Fair);
        self.trouble = None;
    }
}

/// A record of the events, printed if the test fails.
struct Diary {
    seed: u64,
    began: Instant,
    lines: Vec<String>,
}

impl Diary {
    fn note(&mut self, what: &str, process: &Process) {
        self.lines.push(format!("{:6.2}s {what} {}", self.began.elapsed().as_secs_f64(), process.pid()));
    }
}

impl Drop for Diary {
    #[allow(clippy::print_stderr, reason = "a failed test tells what happened")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("RCG_SEED={}\n{}", self.seed, self.lines.join("\n"));
        }
    }
}

async fn processes_die_and_every_entry_ends_in_the_output_once(entries: usize, time: Duration) {
    let server = Server::start().await;
    let mut chance = Chance::new();
    let mut diary = Diary { seed: chance.seed(), began: Instant::now(), lines: Vec::new() };
    let mut members = Vec::new();
    for _ in 0..PROCESSES {
        members.push(Member::start(&server).await);
    }
    soon("all processes have begun", async || server.ids().await.len() == PROCESSES * CONSUMERS).await;

    let trouble = async {
        let end = Instant::now() + time;
        let mut next = Instant::now();
        while Instant::now() < end {
            for member in members.iter_mut() {
                if member.trouble.is_some_and(|until| until <= Instant::now()) {
                    diary.note("is well again:", &member.process);
                    member.recover();
                }
            }
            if next <= Instant::now() {
                next = Instant::now() + chance.millis(500..1500);
                let member = &mut members[chance.below(PROCESSES)];
                if member.trouble.is_none() {
                    suffer(&server, &mut chance, &mut diary, member).await;
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let (sent, ()) = tokio::join!(append_within(&server, entries, time), trouble);
    members.iter_mut().for_each(Member::recover);

    drained(&server, entries, time + Duration::from_secs(60)).await;
    soon("only the ids of those that live are listed", async || {
        server.ids().await.len() == PROCESSES * CONSUMERS
    })
    .await;
    for member in members {
        member.process.stop().await;
    }
    assert_eq!(server.rejected().await, []);
    judge(&sent, &server.entries(OUTPUT).await).assert_flawless();
    assert_nothing_left_behind(&server).await;
}

/// Kills, suspends or cuts off one process.
async fn suffer(server: &Server, chance: &mut Chance, diary: &mut Diary, member: &mut Member) {
    match chance.below(4) {
        0 => {
            diary.note("killed:", &member.process);
            member.process.kill();
            *member = Member::start(server).await;
            diary.note("started:", &member.process);
            // A process that finds no server at its start gives up, so a new process has 3 s without trouble.
            member.trouble = Some(Instant::now() + Duration::from_secs(3));
            return;
        }
        1 => {
            diary.note("stands still:", &member.process);
            member.process.freeze();
        }
        2 => {
            diary.note("is cut off:", &member.process);
            member.line.set(Condition::Cut);
        }
        _ => {
            diary.note("hears nothing:", &member.process);
            member.line.set(Condition::Silent);
        }
    }
    // Sometimes shorter than a lease, sometimes longer.
    member.trouble = Some(Instant::now() + chance.millis(200..2500));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_while_processes_are_killed_suspended_and_cut_off() {
    processes_die_and_every_entry_ends_in_the_output_once(20_000, Duration::from_secs(10)).await;
}

mod long {
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "takes more than a minute; scripts/test --long runs it"]
    async fn nothing_is_lost_or_doubled_while_processes_die_for_a_minute() {
        super::processes_die_and_every_entry_ends_in_the_output_once(200_000, Duration::from_secs(60)).await;
    }
}
