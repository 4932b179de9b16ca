//! The processes of the group, and the ledger of each.

use std::sync::Arc;
use std::time::Duration;

use redis_private_server::Guard;

use super::process::Process;
use super::verdict::Account;
use crate::talk::say;

/// Two running processes, and those that have ended. Kills the running ones when it is dropped.
pub(super) struct Processes {
    server: String,
    guard: Arc<Guard>,
    running: [Process; 2],
    ended: Vec<Account>,
}

impl Processes {
    /// Short enough to show a takeover in a demo.
    pub(super) const LEASE: Duration = Duration::from_secs(2);

    /// Starts both, and waits until they read.
    pub(super) async fn start(server: String, guard: Arc<Guard>) -> anyhow::Result<Self> {
        let (one, other) = tokio::try_join!(
            Process::start(&server, Self::LEASE, &guard),
            Process::start(&server, Self::LEASE, &guard)
        )?;
        Ok(Self { server, guard, running: [one, other], ended: Vec::new() })
    }

    pub(super) fn pids(&self) -> [u32; 2] {
        self.running.each_ref().map(|process| process.pid)
    }

    /// Waits until one of them ends, which is an error. Cancel safe.
    pub(super) async fn unexpected_end(&mut self) -> anyhow::Error {
        let [one, other] = &mut self.running;
        tokio::select! {
            error = one.unexpected_end() => error,
            error = other.unexpected_end() => error,
        }
    }

    /// Kills the first one, and starts another one instead.
    pub(super) async fn replace_one(&mut self) -> anyhow::Result<()> {
        let pid = self.running[0].pid;
        let consumers = self.running[0].kill().await?;
        self.ended.push(Account { pid, consumers, ledger: None });
        say(format_args!("Killed process {pid}; the others take over its entries after its lease."));
        self.running[0] = Process::start(&self.server, Self::LEASE, &self.guard).await?;
        say(format_args!("Process {} replaces it.", self.running[0].pid));
        Ok(())
    }

    /// Stops both. Returns the accounts of all processes, the killed ones first.
    pub(super) async fn finish(mut self) -> anyhow::Result<Vec<Account>> {
        for process in &self.running {
            process.ask_to_stop()?;
        }
        // In the order in which they were started.
        for process in self.running.iter_mut().rev() {
            let ledger = Some(process.ledger().await?);
            let consumers = std::mem::take(&mut process.consumers);
            self.ended.push(Account { pid: process.pid, consumers, ledger });
        }
        Ok(self.ended)
    }
}
