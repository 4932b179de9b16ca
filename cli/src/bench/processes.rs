//! The child processes of a bench, from the parent's side.

use std::env;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::role::protocol::{Event, Order, Task};
use crate::exit::Coded;

/// The hidden subcommand that starts a child.
pub(crate) const PROCESS: &str = "bench-process";

/// Owns the child processes. Kills those that are left when it is dropped.
#[derive(Default)]
pub(crate) struct Processes {
    children: Mutex<Vec<Child>>,
}

/// The pipes of a child. Dropping them tells it to end; `Processes` waits for that.
pub(crate) struct Process {
    role: &'static str,
    orders: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Processes {
    /// Starts a child with its task, and waits until it is ready. `role` names it in errors.
    ///
    /// # Errors
    /// If the system starts no process, or if the child fails.
    pub(crate) async fn start(&self, role: &'static str, task: &Task) -> anyhow::Result<Process> {
        let program = env::current_exe().context("cannot find this program to start it again")?;
        let mut child = Command::new(program)
            .arg(PROCESS)
            // They may have a password, and a child does not need them.
            .env_remove("RCG_URL")
            .env_remove("REDIS_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal is for the bench, which then ends its children.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the process of {role}"))?;
        let (orders, events) = (child.stdin.take(), child.stdout.take());
        self.keep(child);
        let (Some(orders), Some(events)) = (orders, events) else { bail!("{role} has no pipes") };
        let mut process = Process { role, orders, events: BufReader::new(events).lines() };
        process.send(task).await?;
        match process.event().await? {
            Event::Ready => Ok(process),
            other => Err(process.unexpected(&other)),
        }
    }

    /// Waits for the children whose pipes were dropped, and kills those that take too long.
    pub(crate) async fn end_all(&self) {
        /// Longer than a group needs to abort.
        const LIMIT: Duration = Duration::from_secs(15);
        let children = std::mem::take(&mut *self.children.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = Instant::now() + LIMIT;
        for mut child in children {
            if timeout_at(deadline, child.wait()).await.is_err() {
                // An error means that it has just ended.
                let _ = child.kill().await;
            }
        }
    }

    /// Adds a child, and forgets those that have ended.
    fn keep(&self, child: Child) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        children.push(child);
    }
}

impl Process {
    pub(crate) async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        self.send(&order).await
    }

    /// Waits for the next event. Cancel safe.
    ///
    /// # Errors
    /// The failure of the child with its exit code, or an end without an event.
    pub(crate) async fn event(&mut self) -> anyhow::Result<Event> {
        let line = self.events.next_line().await?;
        let Some(line) = line else {
            bail!("the process of {} ended unexpectedly; was it killed because memory ran out?", self.role)
        };
        match serde_json::from_str(&line).context("an unknown event")? {
            Event::Failed { code, text } => bail!(Coded { code, text }),
            event => Ok(event),
        }
    }

    pub(crate) fn unexpected(&self, event: &Event) -> anyhow::Error {
        anyhow::anyhow!("{} sent {event:?} at the wrong time; please report it", self.role)
    }

    async fn send<T: serde::Serialize>(&mut self, what: &T) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        // If the child is gone, its last event says why.
        let _ = self.orders.write_all(&line).await;
        Ok(())
    }
}
