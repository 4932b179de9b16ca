//! The processes of the group, and what became of each.

use std::sync::Arc;
use std::time::Duration;

use redis_private_server::Guard;

use super::process::Process;
use super::verdict::Account;
use crate::talk::say;

/// Two processes at work, and those that were killed. Dropped, it kills the two.
pub(super) struct Processes {
    server: String,
    guard: Arc<Guard>,
    at_work: [Process; 2],
    gone: Vec<Account>,
}

impl Processes {
    /// What a process has of its lease: short enough for a demo to show what comes after it.
    pub(super) const LEASE: Duration = Duration::from_secs(2);

    /// Starts both, and waits until they read.
    pub(super) async fn start(server: String, guard: Arc<Guard>) -> anyhow::Result<Self> {
        let (one, other) = tokio::try_join!(
            Process::start(&server, Self::LEASE, &guard),
            Process::start(&server, Self::LEASE, &guard)
        )?;
        Ok(Self { server, guard, at_work: [one, other], gone: Vec::new() })
    }

    pub(super) fn pids(&self) -> [u32; 2] {
        self.at_work.each_ref().map(|process| process.pid)
    }

    /// Waits until one of them ends, which none should. May be dropped while it waits.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let [one, other] = &mut self.at_work;
        tokio::select! {
            error = one.ended() => error,
            error = other.ended() => error,
        }
    }

    /// Kills the first one, and starts another in its place.
    pub(super) async fn replace_one(&mut self) -> anyhow::Result<()> {
        let pid = self.at_work[0].pid;
        let consumers = self.at_work[0].kill().await?;
        self.gone.push(Account { pid, consumers, ledger: None });
        say(format_args!("Killed process {pid}; its entries are taken over within its lease."));
        self.at_work[0] = Process::start(&self.server, Self::LEASE, &self.guard).await?;
        say(format_args!("Process {} takes its place.", self.at_work[0].pid));
        Ok(())
    }

    /// Has them finish. What each says about itself, those that were killed first.
    pub(super) async fn finish(mut self) -> anyhow::Result<Vec<Account>> {
        for process in &self.at_work {
            process.ask_to_stop()?;
        }
        // Those that were there from the start come before the one that was not.
        for process in self.at_work.iter_mut().rev() {
            let ledger = Some(process.ledger().await?);
            let consumers = std::mem::take(&mut process.consumers);
            self.gone.push(Account { pid: process.pid, consumers, ledger });
        }
        Ok(self.gone)
    }
}
