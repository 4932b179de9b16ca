//! The parts of a bench that are processes of their own, so that what one of them takes is not taken for
//! another's.
//!
//! ```text
//!   the bench ──task, orders──► stdin   load     commands ──► wire ──► the server
//!             ◄──events──────── stdout  listen   a subscriber that only reads
//!                                       bare     a stream moved by one connection, as plainly as can be
//!                                       group    a whole consumer group, watched
//!                                       work     the work of the processor alone
//! ```
//!
//! A part ends with its stdin: also when the bench was killed and cannot tell it to.

mod answer;
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
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::oneshot;

pub(crate) use commands::frame_length;
use protocol::{Event, Order, Task};

use crate::exit;

/// Is a part of a bench, until its task is done or stdin ends.
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let mut orders = Orders(BufReader::new(tokio::io::stdin()).lines());
    match perform(&mut orders).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            tell(&Event::Failed { code: exit::code(&error), text: exit::text(&error) });
            Ok(exit::code(&error).into())
        }
    }
}

/// What the bench wants next. The end of it is the end of this part.
struct Orders(Lines<BufReader<Stdin>>);

impl Orders {
    /// May be dropped while it waits. `None` when the bench is gone, or wants us to be.
    async fn next(&mut self) -> anyhow::Result<Option<Order>> {
        let Some(line) = self.0.next_line().await? else { return Ok(None) };
        Ok(Some(serde_json::from_str(&line).context("an order that nobody knows")?))
    }

    /// Waits for the moment to begin at.
    async fn go(&mut self) -> anyhow::Result<Option<u64>> {
        loop {
            match self.next().await? {
                Some(Order::Go { at }) => return Ok(Some(at)),
                Some(Order::Look | Order::Finish) => {}
                None => return Ok(None),
            }
        }
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}

/// Tells the bench. Where it is gone, stdin ends too.
fn tell(event: &Event) {
    let Ok(mut line) = serde_json::to_string(event) else { return };
    line.push('\n');
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}

async fn perform(orders: &mut Orders) -> anyhow::Result<()> {
    let task = orders.0.next_line().await?;
    let task = task.context("this is a part of `bench`, which starts it; start `bench` instead")?;
    // Not the cause: it might repeat what the line holds.
    let task = serde_json::from_str(&task).ok().context("a task that nobody knows")?;
    match task {
        Task::Load(task) => {
            let (go, begin) = oneshot::channel();
            alone(orders, go, move || load::run(task, begin)).await
        }
        Task::Listen { place, bytes } => {
            let (go, _) = oneshot::channel();
            alone(orders, go, move || listen::run(place, bytes)).await
        }
        Task::Bare { place } => {
            let (go, begin) = oneshot::channel();
            alone(orders, go, move || bare::run(place, begin)).await
        }
        Task::Group(task) => group::run(task, orders).await,
        Task::Work { consumers, work, seconds } => {
            tell(&Event::Worked { rate: work::rate(consumers, work, seconds).await });
            Ok(())
        }
    }
}

/// Runs the future on a thread and a runtime of its own, where waiting by spinning holds nobody up and no other
/// thread is woken for each read; meanwhile listens for orders.
async fn alone<F: Future<Output = anyhow::Result<()>>>(
    orders: &mut Orders,
    go: oneshot::Sender<u64>,
    work: impl FnOnce() -> F + Send + 'static,
) -> anyhow::Result<()> {
    let (done, is_done) = oneshot::channel();
    // It ends with its work, or with the process.
    thread::Builder::new().name("part".to_owned()).spawn(move || {
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
        outcome = is_done => outcome.context("a thread of a part of the bench has died; please report it")?,
        ended = listening => ended,
    }
}
