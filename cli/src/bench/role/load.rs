//! The load: publishes or appends messages, at full speed or in an open loop.

use std::io;

use redis_consumer_group::client::open_socket;
use redis_consumer_group::{Address, Error};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::commands::Commands;
use super::protocol::{Command, Event, Load, Loaded};
use super::wire::Wire;
use super::{refused, send};
use crate::bench::distribution::Times;
use crate::clock;
use crate::pacing::{SPIN, Schedule, precise_sleep, sleep_until, wait_until};

/// Connects, waits for the time to begin, and sends. It has a thread of its own, because it waits by blocking.
pub(super) async fn run(task: Load, begin: oneshot::Receiver<u64>) -> anyhow::Result<()> {
    let (address, tls) = task.endpoint.parse()?;
    let wire = Wire::new(open_socket(&address, &tls, "redis-consumer-group:bench").await?);
    let most = pipeline(task.command);
    let commands = Commands::new(task.command, &task.shards, task.run, task.payload_bytes, most);
    precise_sleep();
    send(&Event::Ready);
    // An error means that the bench is gone.
    let Ok(at) = begin.await else { return Ok(()) };
    let Load { command, first, messages, .. } = task;
    let mut sender = Sender { wire, commands, address, command, first, sent: 0, messages };
    wait_until(at, || false);
    let cpu = clock::process_cpu();
    let first_sent = clock::now();
    let late = match task.rate {
        None => {
            sender.at_full_speed().await?;
            None
        }
        Some(rate) => Some(sender.on_schedule(&Schedule::new(at, rate)).await?),
    };
    let written = clock::now();
    sender.settle(0).await?;
    send(&Event::Loaded(Loaded {
        first: first_sent,
        written,
        answered: clock::now(),
        undelivered: sender.wire.replies().undelivered(),
        stalled: sender.wire.stalled(),
        cpu: clock::process_cpu() - cpu,
        late: late.map(|late| late.distribution()),
    }));
    Ok(())
}

/// The number of commands in one write.
fn pipeline(command: Command) -> usize {
    match command {
        Command::Publish | Command::ShardedPublish => 512,
        // As many as in one commit of the group.
        Command::Append | Command::Fill => 256,
    }
}

struct Sender<S> {
    wire: Wire<S>,
    commands: Commands,
    command: Command,
    address: Address,
    /// The number of the first message.
    first: u64,
    sent: u64,
    messages: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    async fn at_full_speed(&mut self) -> anyhow::Result<()> {
        /// Pipelines of XADD in flight: a few, so that the server never waits for the next one.
        const WINDOW: u64 = 4;
        while self.sent < self.messages {
            if !matches!(self.command, Command::Publish | Command::ShardedPublish) {
                self.settle((WINDOW - 1) * self.commands.capacity()).await?;
            }
            self.send(self.commands.capacity()).await?;
        }
        Ok(())
    }

    /// Sends each message when it is due, or as soon after that as the server takes it. Returns how late they were.
    async fn on_schedule(&mut self, schedule: &Schedule) -> anyhow::Result<Times> {
        let mut late = Times::new();
        let mut woken = 0;
        while self.sent < self.messages {
            if schedule.due(self.sent + self.commands.capacity()) > clock::now() {
                wait_for_some(schedule, self.sent, woken);
            }
            woken = clock::now();
            let due = schedule.due_by(woken).saturating_sub(self.sent);
            let from = self.sent;
            self.send(due.min(self.commands.capacity())).await?;
            let now = clock::now();
            (from..self.sent).for_each(|message| late.record(now.saturating_sub(schedule.due(message))));
            // Lets the runtime poll the socket: replies are read with the next message.
            tokio::task::yield_now().await;
        }
        Ok(late)
    }

    async fn send(&mut self, count: u64) -> anyhow::Result<()> {
        let count = count.min(self.messages - self.sent);
        let bytes = self.commands.numbered(self.sent, self.first + self.sent, count);
        let sent = self.wire.send(count, bytes).await;
        self.sent += count;
        self.checked(sent)
    }

    async fn settle(&mut self, unanswered: u64) -> anyhow::Result<()> {
        let settled = self.wire.settle(unanswered).await;
        self.checked(settled)
    }

    /// The error of the connection or of the server.
    fn checked(&self, outcome: io::Result<()>) -> anyhow::Result<()> {
        let (name, rules) = match self.command {
            Command::Publish => ("PUBLISH", "+publish &bench:*"),
            Command::ShardedPublish => ("SPUBLISH", "+spublish &bench:*"),
            Command::Append | Command::Fill => ("XADD", "+xadd ~bench:*"),
        };
        match (self.wire.replies().error(), outcome) {
            (Some(answer), _) => Err(refused(&self.address, name, answer, rules)),
            (None, Err(error)) => {
                let address = self.address.to_string();
                let try_next =
                    "check that the server runs, and whether its log says that it closed the connection";
                Err(Error::Unreachable { address, cause: error.to_string(), try_next: try_next.to_owned() }
                    .into())
            }
            (None, Ok(())) => Ok(()),
        }
    }
}

/// The time between two writes if messages are closer together: permanent spinning, or a system call for each message,
/// would take a core from the server. It delays messages by 50 µs on average.
const TICK: u64 = 100_000;

/// Waits until the next message is due; at a high rate at least one tick, so that several are due together.
fn wait_for_some(schedule: &Schedule, sent: u64, last_look: u64) {
    let due = schedule.due(sent);
    let is_over = || false;
    if schedule.interval() >= SPIN as f64 {
        wait_until(due, is_over);
    } else {
        sleep_until(due.max(last_look + TICK), is_over);
    }
}
