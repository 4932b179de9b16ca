//! The roles of a bench's child processes. They are processes so that the CPU and memory of each can be reported apart.
//!
//! ```text
//!   the bench ──task, orders──► stdin   load     commands ──► wire ──► the server
//!             ◄──events──────── stdout  listen   a subscriber that only reads
//!                                       bare     a stream moved by one connection, as plainly as possible
//!                                       group    a whole consumer group, observed
//!                                       work     the work of the processor alone
//! ```
//!
//! A child ends when its stdin ends, also if the bench was killed.

mod bare;
mod commands;
mod group;
mod listen;
mod load;
pub(crate) mod protocol;
mod replies;
mod watch;
mod wire;
mod work;

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;

use anyhow::Context;
use redis_consumer_group::{Address, Error};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::oneshot;

pub(crate) use commands::frame_length;
use protocol::{Event, Order, Task};

use crate::exit::{self, Coded};

/// Plays a role until its task is done or stdin ends.
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let mut orders = Orders(BufReader::new(tokio::io::stdin()).lines());
    match perform(&mut orders).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            send(&Event::Failed { code: exit::code(&error), text: exit::text(&error) });
            Ok(exit::code(&error).into())
        }
    }
}

/// The orders of the bench. This process ends with them.
struct Orders(Lines<BufReader<Stdin>>);

impl Orders {
    /// The next order, or `None` at the end of stdin. Cancel safe.
    async fn next(&mut self) -> anyhow::Result<Option<Order>> {
        let Some(line) = self.0.next_line().await? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&line).context("an unknown order")?))
    }

    /// Waits for the time at which to begin.
    async fn go(&mut self) -> anyhow::Result<Option<u64>> {
        loop {
            match self.next().await? {
                Some(Order::Go { at }) => return Ok(Some(at)),
                Some(Order::ReportCpu | Order::Finish) => {}
                None => return Ok(None),
            }
        }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}

/// Sends an event to the bench. If that is gone, stdin ends too.
fn send(event: &Event) {
    let Ok(mut line) = serde_json::to_string(event) else { return };
    line.push('\n');
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}

/// The error behind a refused command. A user without the permission needs these rules.
fn refused(address: &Address, name: &str, answer: &str, rules: &str) -> anyhow::Error {
    let address = address.to_string();
    if answer.starts_with("NOPERM") {
        let (what, answer) = (name.to_owned(), answer.to_owned());
        let try_next = format!("give the user the rules `{rules}`");
        return Error::Refused { address, what, answer, try_next }.into();
    }
    let text = format!("Redis at {address} answered {name} with {answer:?}; fix that and try again");
    Coded { code: exit::FAILED, text }.into()
}

async fn perform(orders: &mut Orders) -> anyhow::Result<()> {
    let task = orders.0.next_line().await?;
    let task = task.context("this is a child process of `bench`; start `bench` instead")?;
    // Without the cause, which might repeat the line with its password.
    let task = serde_json::from_str(&task).ok().context("an unknown task")?;
    match task {
        Task::Load(task) => {
            let (go, begin) = oneshot::channel();
            alone(orders, go, move || load::run(task, begin)).await
        }
        Task::Listen { endpoint, bytes } => {
            let (go, _) = oneshot::channel();
            alone(orders, go, move || listen::run(endpoint, bytes)).await
        }
        Task::Bare { endpoint } => {
            let (go, begin) = oneshot::channel();
            alone(orders, go, move || bare::run(endpoint, begin)).await
        }
        Task::Group(task) => group::run(task, orders).await,
        Task::Work { consumers, work, seconds } => {
            send(&Event::Ready);
            send(&Event::Worked { rate: work::rate(consumers, work, seconds).await });
            Ok(())
        }
    }
}

/// Runs the future on a thread and a runtime of its own, where it may spin without blocking other tasks and no other
/// thread is woken for each read. Listens for orders at the same time.
async fn alone<F: Future<Output = anyhow::Result<()>>>(
    orders: &mut Orders,
    go: oneshot::Sender<u64>,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<()> {
    let (done, is_done) = oneshot::channel();
    // Ends with its work, or with the process.
    thread::Builder::new().name("role".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(work()));
        let _ = done.send(outcome);
    })?;
    let listening = async {
        if let Some(at) = orders.go().await? {
            let _ = go.send(at);
            orders.end().await?;
        }
        Ok(())
    };
    tokio::select! {
        outcome = is_done => outcome.context("a thread of a child process panicked; please report it")?,
        ended = listening => ended,
    }
}
