//! The parts of a bench, as it sees them: started, told, heard, and ended.

use std::env;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout_at};

use super::part::protocol::{Event, Order, Task};
use crate::exit::Coded;

/// The hidden subcommand that a part is started with.
pub(crate) const PART: &str = "bench-part";

/// Owns the processes. Dropped, it kills those that are left.
#[derive(Default)]
pub(crate) struct Processes {
    children: Mutex<Vec<Child>>,
}

/// A part at work. Dropped, it is told to end; `Processes` waits for that.
pub(crate) struct Part {
    role: &'static str,
    orders: ChildStdin,
    events: Lines<BufReader<ChildStdout>>,
}

impl Processes {
    /// Starts a part and gives it its task. `role` says in errors what it is for.
    ///
    /// # Errors
    /// When the system gives us no process.
    pub(crate) async fn start(&self, role: &'static str, task: &Task) -> anyhow::Result<Part> {
        let program = env::current_exe().context("cannot find this program to start it again")?;
        let mut child = Command::new(program)
            .arg(PART)
            // They may hold a password, and a part has no use for them.
            .env_remove("RCG_URL")
            .env_remove("REDIS_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ctrl-C in the terminal is for us: the parts end when we say so.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the process of {role}"))?;
        let (orders, events) = (child.stdin.take(), child.stdout.take());
        self.keep(child);
        let (Some(orders), Some(events)) = (orders, events) else { bail!("{role} has no pipes") };
        let mut part = Part { role, orders, events: BufReader::new(events).lines() };
        part.tell(task).await?;
        Ok(part)
    }

    /// Waits for the processes whose parts were dropped, and kills those that take too long.
    pub(crate) async fn dismiss(&self) {
        /// Longer than a group takes to give up.
        const LIMIT: Duration = Duration::from_secs(15);
        let children = std::mem::take(&mut *self.children.lock().unwrap_or_else(PoisonError::into_inner));
        let deadline = Instant::now() + LIMIT;
        for mut child in children {
            if timeout_at(deadline, child.wait()).await.is_err() {
                // It is gone by itself if this fails.
                let _ = child.kill().await;
            }
        }
    }

    /// Owns this one too, and forgets those that have ended.
    fn keep(&self, child: Child) {
        let mut children = self.children.lock().unwrap_or_else(PoisonError::into_inner);
        children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        children.push(child);
    }
}

impl Part {
    pub(crate) async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        self.tell(&order).await
    }

    /// Waits for the next event. May be dropped while it waits.
    ///
    /// # Errors
    /// What the part failed with, with the code that it stands for; also when it ended without a word.
    pub(crate) async fn event(&mut self) -> anyhow::Result<Event> {
        let line = self.events.next_line().await?;
        let Some(line) = line else {
            bail!("the process of {} ended without a word; was it killed for want of memory?", self.role)
        };
        match serde_json::from_str(&line).context("an event that nobody knows")? {
            Event::Failed { code, text } => bail!(Coded { code, text }),
            event => Ok(event),
        }
    }

    /// Waits until it waits for its beginning.
    pub(crate) async fn ready(&mut self) -> anyhow::Result<()> {
        match self.event().await? {
            Event::Ready => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    pub(crate) fn unexpected(&self, event: &Event) -> anyhow::Error {
        anyhow::anyhow!("{} said {event:?} out of turn; please report it", self.role)
    }

    async fn tell<T: serde::Serialize>(&mut self, what: &T) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        // Where it is gone, its last event says why.
        let _ = self.orders.write_all(&line).await;
        Ok(())
    }
}
