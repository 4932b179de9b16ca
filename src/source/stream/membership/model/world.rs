//! Processes, a server, and the invariants that must hold whatever happened.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::rc::Rc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use redis::aio::MultiplexedConnection;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::command::{Command, Conditions, FAIR, Story};
use super::process::{Committed, Group, Process};
use super::seen::Seen;
use super::wire::{Delayed, Plan, Trouble, Which};
use crate::entry_id::EntryId;
use crate::error::Error;
use crate::redis::registry::Names;
use crate::sink::Settled;
use crate::source::stream::takeovers::Takeover;

type Checked = Result<(), TestCaseError>;

/// The most entries of a story.
const MOST_ENTRIES: usize = 8;

pub(super) struct World<'a> {
    socket: &'a Path,
    folder: &'a Path,
    eye: MultiplexedConnection,
    group: Rc<Group>,
    processes: Vec<Process>,
    delayed: Delayed,
    /// All entries that were ever appended to the input.
    appended: BTreeMap<EntryId, String>,
    /// The number of the last commit.
    commits: u32,
    seen: Seen,
}

impl<'a> World<'a> {
    /// An empty stream, with a group that the processes have joined.
    pub(super) async fn new(
        eye: MultiplexedConnection,
        socket: &'a Path,
        folder: &'a Path,
        story: &Story,
        name: u32,
    ) -> Self {
        let names = Names::new(&format!("in:{name}"), "processors", "input");
        let group = Group { names, output: format!("out:{name}"), epochs: RefCell::default() };
        let group = Rc::new(group);
        let delayed = Delayed::default();
        let mut processes = Vec::new();
        for _ in 0..story.processes {
            processes.push(Process::start(group.clone(), socket, folder, delayed.clone()).await);
        }
        let (appended, seen) = (BTreeMap::new(), Seen::default());
        Self { socket, folder, eye, group, processes, delayed, appended, commits: 0, seen }
    }

    /// Executes a command, and checks the invariants.
    pub(super) async fn run(&mut self, command: &Command) -> Checked {
        self.obey(command).await?;
        self.check().await
    }

    async fn obey(&mut self, command: &Command) -> Checked {
        let count = self.processes.len();
        match *command {
            Command::Append(entries) => self.append(entries).await,
            Command::Read { who, most, conditions } => {
                if !self.seen.unread.is_empty() {
                    self.under(conditions, who % count, async |process| process.read(most).await).await?;
                }
            }
            Command::Commit { who, lane, most, conditions } => {
                self.commit(self.holder(who), lane, most, conditions).await?;
            }
            Command::CommitTooLate { who, by, lane, most, after, in_part } => {
                let strike_at = if in_part {
                    (Which::Commit, Trouble::HeldInPart)
                } else {
                    (Which::After(after), Trouble::Held)
                };
                let who = self.holder(who);
                if who != by % count {
                    self.commit_too_late(who, by % count, lane, most, strike_at).await?;
                }
            }
            Command::Lapse { who, unlisted } => self.lapse(self.processes[who % count].id(), unlisted).await,
            Command::Renew { who, conditions } => {
                self.under(conditions, who % count, async |process| process.renew().await).await?;
            }
            Command::BeginNext { who, conditions } => {
                self.under(conditions, who % count, async |process| process.begin_next().await).await?;
            }
            Command::Sweep { who, conditions } => {
                self.under(conditions, who % count, async |process| process.sweep().await).await?;
            }
            Command::TakeOver { who, most, conditions } => {
                let take_over = async |process: &mut Process| process.take_over(most).await.map(drop);
                self.under(conditions, who % count, take_over).await?;
            }
            Command::Claim { who, most } => claim(&mut self.processes[who % count], most).await?,
            Command::Forget { who } => {
                let epochs = self.group.epochs.borrow().clone();
                for epoch in epochs {
                    self.processes[who % count].membership.registry.forget(epoch).await.unwrap();
                }
            }
            Command::Usurp { who, from, most } => {
                let from = self.processes[from % count].id();
                let process = &mut self.processes[who % count];
                if from != process.id() {
                    process.takeovers().add(Takeover::by(from));
                    process.take_over(most).await.map_err(failed)?;
                }
            }
            Command::Crash { who, lapsed } => self.crash(who % count, lapsed).await,
            Command::Trim { who } => {
                while self.processes[who % count].membership.registry.trim().await.unwrap() > 0 {}
            }
            Command::Deliver => self.delayed.deliver().await,
        }
        Ok(())
    }

    /// One process takes over everything and commits it. Then checks what must be true at the end.
    pub(super) async fn end(mut self, survivor: usize) -> Checked {
        let mut survivor = self.processes.swap_remove(survivor % self.processes.len());
        let others: Vec<_> = self.processes.drain(..).map(|process| process.id()).collect();
        survivor.renew().await.map_err(failed)?;
        self.processes.push(survivor);
        self.commit_all().await?;
        // Entries that were delivered to it without its knowledge are taken over as well.
        self.processes[0].begin_next().await.map_err(failed)?;
        self.delayed.deliver().await;
        for _ in 0..2 {
            self.check().await?;
            for process in self.seen.leases.clone() {
                if process != self.processes[0].id() {
                    self.lapse(process, false).await;
                }
            }
            self.processes[0].sweep().await.map_err(failed)?;
            while self.processes[0].take_over(MOST_ENTRIES).await.map_err(failed)? {
                self.commit_all().await?;
            }
            while !self.seen.unread.is_empty() {
                self.processes[0].read(MOST_ENTRIES).await.map_err(failed)?;
                self.commit_all().await?;
            }
        }
        self.check().await?;

        let mut output: Vec<_> = self.seen.output.iter().map(|(entry, _)| entry.clone()).collect();
        output.sort();
        let mut appended: Vec<_> = self.appended.values().cloned().collect();
        appended.sort();
        prop_assert_eq!(output, appended, "the output is not every entry once");
        prop_assert!(self.seen.pending.is_empty(), "{:?} are pending at the end", self.seen.pending);
        let alone = BTreeSet::from([self.processes[0].id()]);
        let Seen { consumers, tokens, leases, .. } = &self.seen;
        for left in [consumers, tokens, leases] {
            prop_assert_eq!(left, &alone, "not all were buried; {:?} were killed at the end", others);
        }
        Ok(())
    }

    /// The next process that holds something, from this one on.
    fn holder(&self, from: usize) -> usize {
        let count = self.processes.len();
        let mut all = (from..from + count).map(|who| who % count);
        all.find(|who| !self.processes[*who].held.is_empty()).unwrap_or(from % count)
    }

    async fn append(&mut self, entries: usize) {
        for _ in 0..entries.min(MOST_ENTRIES - self.appended.len()) {
            let payload = format!("entry-{}", self.appended.len());
            let mut append = redis::cmd("XADD");
            append.arg(&self.group.names.input).arg("*").arg("payload").arg(&payload);
            let id: String = append.query_async(&mut self.eye).await.unwrap();
            self.appended.insert(id.parse().unwrap(), payload);
        }
    }

    /// Sets a lease to a time long past, or deletes it.
    async fn lapse(&mut self, process: Uuid, unlisted: bool) {
        let leases = &self.group.names.leases;
        let lapse = if unlisted {
            redis::cmd("ZREM").arg(leases).arg(process.to_string()).to_owned()
        } else {
            redis::cmd("ZADD").arg(leases).arg("XX").arg(1).arg(process.to_string()).to_owned()
        };
        lapse.query_async::<()>(&mut self.eye).await.unwrap();
    }

    /// Replaces a process: everything in its memory is lost.
    async fn crash(&mut self, who: usize, lapsed: bool) {
        if lapsed {
            self.lapse(self.processes[who].id(), false).await;
        }
        self.processes[who] =
            Process::start(self.group.clone(), self.socket, self.folder, self.delayed.clone()).await;
    }

    /// Lets a process act while its connections are faulty. Returns the result, unless the process was killed.
    async fn under<T>(
        &mut self,
        conditions: Conditions,
        who: usize,
        deed: impl AsyncFnOnce(&mut Process) -> Result<T, Error>,
    ) -> Result<Option<T>, TestCaseError> {
        let process = &mut self.processes[who];
        let plan = process.wire.plan.clone();
        let struck = strike(&plan, conditions.strike);
        let done = tokio::select! {
            biased;
            Ok(()) = struck, if conditions.deadly => None,
            done = deed(process) => Some(done.map_err(failed)?),
        };
        plan.calm();
        if conditions.deadly {
            self.crash(who, self.commits.is_multiple_of(2)).await;
        }
        Ok(done)
    }

    async fn commit(&mut self, who: usize, lane: usize, most: usize, conditions: Conditions) -> Checked {
        self.commits += 1;
        let number = self.commits;
        let commit = async |process: &mut Process| process.commit(lane, most, number).await;
        let committed = self.under(conditions, who, commit).await?.flatten();
        self.check_commit(committed).await
    }

    async fn commit_too_late(
        &mut self,
        who: usize,
        by: usize,
        lane: usize,
        most: usize,
        strike_at: (Which, Trouble),
    ) -> Checked {
        self.commits += 1;
        let (number, dead) = (self.commits, self.processes[who].id());
        let plan = self.processes[who].wire.plan.clone();
        let struck = strike(&plan, Some(strike_at));
        // Taken out of the list, so that other processes can act meanwhile.
        let mut late = self.processes.swap_remove(who);
        let heir = if by == self.processes.len() { who } else { by };
        let committed = {
            let mut commit = std::pin::pin!(late.commit(lane, most, number));
            tokio::select! {
                biased;
                Ok(()) = struck => {
                    self.lapse(dead, false).await;
                    claim(&mut self.processes[heir], MOST_ENTRIES).await?;
                    plan.go_on();
                    commit.await
                }
                committed = &mut commit => committed,
            }
        };
        plan.calm();
        self.processes.push(late);
        let last = self.processes.len() - 1;
        self.processes.swap(who, last);
        self.check_commit(committed.map_err(failed)?).await?;
        self.check().await?;
        self.commit(who, lane, MOST_ENTRIES, FAIR).await
    }

    async fn commit_all(&mut self) -> Checked {
        while !self.processes[0].held.is_empty() {
            self.check().await?;
            self.commit(0, 0, 3, FAIR).await?;
        }
        self.check().await
    }

    /// Checks that the result of a commit is true.
    async fn check_commit(&mut self, committed: Option<Committed>) -> Checked {
        let Some(Committed { epoch, was_over, settled }) = committed else { return Ok(()) };
        let permitted_before = self.seen.tokens.contains(&epoch.process);
        let seen = Seen::at(&mut self.eye, &self.group).await;
        let appended = seen.output.iter().any(|(_, commit)| *commit == self.commits);
        match settled {
            Settled::Committed => {
                prop_assert!(permitted_before, "{} has committed after its end", epoch.consumer);
                prop_assert!(appended, "a commit was confirmed, and is not in the output");
            }
            Settled::Fenced => {
                let permitted = seen.tokens.contains(&epoch.process);
                prop_assert!(was_over || !permitted, "{} was denied a commit while it lives", epoch.consumer);
                prop_assert!(!appended, "a commit was given up, and is in the output");
            }
        }
        Ok(())
    }

    /// Checks the invariants that hold at any time.
    async fn check(&mut self) -> Checked {
        let now = Seen::at(&mut self.eye, &self.group).await;
        let mut entries = BTreeSet::new();
        for (entry, commit) in &now.output {
            prop_assert!(entries.insert(entry), "{entry} is in the output again, by commit {commit}");
        }
        for (id, entry) in &self.appended {
            let places = [entries.contains(entry), now.pending.contains_key(id), now.unread.contains(id)];
            prop_assert!(
                places.iter().filter(|there| **there).count() == 1,
                "{entry} is not in one place: in the output, pending, unread: {places:?}"
            );
        }
        for (id, former) in &self.seen.pending {
            let moved = now.pending.get(id).is_some_and(|holder| holder != former);
            let may_commit = Names::process(former).is_some_and(|process| now.tokens.contains(&process));
            prop_assert!(!(moved && may_commit), "{id} was taken over from {former}, which may commit it");
        }
        for process in &self.processes {
            let mut held = BTreeSet::new();
            for receipt in process.held.iter().filter_map(|message| message.receipt()) {
                let (epoch, id) = (receipt.epoch, receipt.id);
                prop_assert!(held.insert((&epoch.consumer, id)), "{} holds {id} twice", epoch.consumer);
                prop_assert!(
                    epoch.is_over()
                        || !now.tokens.contains(&epoch.process)
                        || now.pending.get(&id) == Some(&epoch.consumer),
                    "{} may commit {id}, and it is pending for {:?}",
                    epoch.consumer,
                    now.pending.get(&id)
                );
            }
        }
        for process in self.processes.iter().filter(|process| process.knows_all()) {
            let consumer = Names::consumer(process.id());
            for (id, _) in now.pending.iter().filter(|(_, holder)| **holder == consumer) {
                let mut held = process.held.iter().filter_map(|message| message.receipt());
                prop_assert!(
                    held.any(|receipt| receipt.id == *id),
                    "{id} is pending for {consumer}, which lives and does not know of it"
                );
            }
        }
        self.seen = now;
        Ok(())
    }
}

/// Finds dead members and takes over from the first one.
async fn claim(process: &mut Process, most: usize) -> Checked {
    process.renew().await.map_err(failed)?;
    process.sweep().await.map_err(failed)?;
    process.take_over(most).await.map_err(failed)?;
    Ok(())
}

/// The receiver is never notified if nothing is planned.
fn strike(plan: &Plan, strike: Option<(Which, Trouble)>) -> oneshot::Receiver<()> {
    match strike {
        Some((which, trouble)) => plan.strike(which, trouble),
        None => oneshot::channel().1,
    }
}

fn failed(error: Error) -> TestCaseError {
    TestCaseError::fail(format!("gave up: {error}"))
}
