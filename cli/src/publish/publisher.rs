//! The work itself: messages onto one connection, at the pace of the load.

use std::future::Future;
use std::io;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::load::Load;
use super::metronome::Metronome;
use super::pace::{Pace, Rate};
use super::payload::Payload;
use super::target::{Target, To};
use super::window::Window;
use crate::stop::Stop;

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Published {
    /// Messages that the server confirmed.
    pub(crate) messages: u64,
    /// Messages that were sent, and of which the server said nothing up to the end.
    pub(crate) unanswered: u64,
    /// From the first message to the last reply.
    pub(crate) elapsed: Duration,
    /// What ended it early. A stop that was asked for is none.
    pub(crate) failure: Option<Failure>,
}

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server refused a message, or the connection broke.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// There was no thread for an even rate.
    #[error(
        "cannot start a thread that keeps the rate: {0}; publish without --rate, or raise the limit of threads"
    )]
    Thread(#[from] io::Error),
}

/// Publishes the load until it is done or `stop` is asked for; then waits for the replies that are missing.
///
/// `confirmed` grows while it runs. `sent` hears each id before its message is sent.
pub(crate) async fn publish(
    connection: MultiplexedConnection,
    load: &Load,
    stop: &Stop,
    confirmed: &AtomicU64,
    sent: impl FnMut(Uuid),
) -> Published {
    let payload = Payload::new(load.payload_bytes);
    let chunk = (CHUNK_BYTES / payload.len()).clamp(1, CHUNK_MESSAGES);
    let limit = (WINDOW_BYTES / (chunk * payload.len())).clamp(2, WINDOW_CHUNKS);
    let start = Instant::now();
    let mut publisher = Publisher {
        load,
        payload,
        chunk: chunk as u64,
        window: Window::new(connection, limit, confirmed),
        stop,
        start,
        end: load.time_limit().map(|limit| start + limit),
        left: load.total().unwrap_or(u64::MAX),
        sent,
    };
    let outcome = publisher.work().await;
    let settled = publisher.settle().await;
    Published {
        messages: confirmed.load(Ordering::Acquire),
        unanswered: publisher.window.unanswered(),
        elapsed: start.elapsed(),
        failure: outcome.and(settled).err(),
    }
}

/// One pipeline: enough for the cost of a system call not to show, few enough to stop quickly.
const CHUNK_MESSAGES: usize = 500;
const CHUNK_BYTES: usize = 256 << 10;

/// All pipelines on their way: enough for neither side to wait for the other.
const WINDOW_CHUNKS: usize = 8;
const WINDOW_BYTES: usize = 16 << 20;

/// How long to wait for the last replies of a server that has gone silent.
const LAST_REPLIES: Duration = Duration::from_secs(10);

struct Publisher<'a, F> {
    load: &'a Load,
    payload: Payload,
    /// Messages of one pipeline.
    chunk: u64,
    window: Window<'a>,
    stop: &'a Stop,
    start: Instant,
    end: Option<Instant>,
    /// Messages that are still to be sent.
    left: u64,
    sent: F,
}

impl<F: FnMut(Uuid)> Publisher<'_, F> {
    async fn work(&mut self) -> Result<(), Failure> {
        match &self.load.pace {
            Pace::Bursts { batch, pause } => self.bursts(*batch, pause).await,
            Pace::Even(rate) => self.evenly(*rate).await,
        }
    }

    async fn bursts(&mut self, batch: u64, pause: &RangeInclusive<Duration>) -> Result<(), Failure> {
        loop {
            self.send(batch).await?;
            if self.is_over() {
                return Ok(());
            }
            let pause = random_within(pause);
            if !pause.is_zero() {
                let over = Instant::now() + pause;
                let over = self.end.map_or(over, |end| end.min(over));
                self.wait(sleep_until(over)).await?;
            }
        }
    }

    async fn evenly(&mut self, rate: Rate) -> Result<(), Failure> {
        let metronome = Metronome::start(rate.tick())?;
        let mut sent = 0;
        loop {
            let due = rate.due(self.start.elapsed());
            self.send(due - sent).await?;
            sent = due;
            if self.is_over() {
                return Ok(());
            }
            self.wait(metronome.tick()).await?;
        }
    }

    /// Sends so many messages, or fewer if the end comes first.
    async fn send(&mut self, mut messages: u64) -> Result<(), Failure> {
        while messages > 0 && !self.is_over() {
            if self.window.is_full() {
                tokio::select! {
                    settled = self.window.settle_one() => settled?,
                    () = self.stop.asked() => return Ok(()),
                }
                continue;
            }
            let chunk = messages.min(self.chunk).min(self.left);
            let pipeline = self.pack(chunk);
            self.window.send(pipeline).await;
            messages -= chunk;
            self.left -= chunk;
        }
        Ok(())
    }

    fn pack(&mut self, messages: u64) -> Pipeline {
        let Target { to, name } = &self.load.target;
        let mut pipeline = Pipeline::with_capacity(messages as usize);
        for _ in 0..messages {
            let id = Uuid::new_v4();
            (self.sent)(id);
            let command = pipeline.cmd(to.command()).arg(name);
            match to {
                To::Channel => command.arg(self.payload.with_id(id)),
                To::Stream => command.arg("*").arg(self.payload.fields_with_id(id)),
            };
        }
        pipeline
    }

    /// Waits for `until`, or a stop, and looks at the replies that come meanwhile.
    async fn wait(&mut self, until: impl Future<Output = ()>) -> Result<(), Failure> {
        let mut until = pin!(until);
        loop {
            tokio::select! {
                biased;
                () = &mut until => return Ok(()),
                () = self.stop.asked() => return Ok(()),
                settled = self.window.settle_one(), if !self.window.is_empty() => settled?,
            }
        }
    }

    /// Waits for the replies that are missing: for a while, and not once a stop is insisted on.
    async fn settle(&mut self) -> Result<(), Failure> {
        tokio::select! {
            settled = timeout(LAST_REPLIES, self.window.settle_all()) => {
                // Running out of time is no failure of its own: it shows as messages without an answer.
                Ok(settled.unwrap_or(Ok(()))?)
            }
            () = self.stop.insisted() => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.stop.is_asked() || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

fn random_within(range: &RangeInclusive<Duration>) -> Duration {
    let width = *range.end() - *range.start();
    range.start().saturating_add(width.mul_f64(fastrand::f64()))
}
