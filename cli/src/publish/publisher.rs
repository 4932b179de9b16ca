//! The work itself: messages onto the connections, at the pace of the load.

use std::future::Future;
use std::io;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Pipeline, RedisError};
use redis_consumer_group::Error;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::connections::Connections;
use super::deal::Deal;
use super::load::Load;
use super::metronome::Metronome;
use super::pace::{Pace, Rate};
use super::payload::Payload;
use super::target::To;
use super::window::{Message, Trouble, Window};
use crate::stop::Stop;

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Published {
    /// Messages that the server confirmed.
    pub(crate) messages: u64,
    /// Messages that were sent, and of which the server said nothing up to the end.
    pub(crate) unanswered: u64,
    /// Messages that nodes of a cluster refused up to the end, because they did not serve the shard then.
    pub(crate) refused: u64,
    /// From the first message to the last reply.
    pub(crate) elapsed: Duration,
    /// What ended it early. A stop that was asked for is none.
    pub(crate) failure: Option<Failure>,
}

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server refused a message for this name, or the connection broke.
    #[error("{name}: {error}")]
    Redis { name: String, error: RedisError },
    /// Nobody serves a shard any more.
    #[error(transparent)]
    Lost(#[from] Error),
    /// There was no thread for an even rate.
    #[error(
        "cannot start a thread that keeps the rate: {0}; publish without --rate, or raise the limit of threads"
    )]
    Thread(#[from] io::Error),
}

/// Publishes the load until it is done or `stop` is asked for; then waits for the replies that are missing.
///
/// In a cluster, what a node refuses because it does not serve the shard any more is sent again to the one that does.
///
/// `confirmed` grows while it runs. `sent` hears each id before its message is sent.
pub(crate) async fn publish(
    connections: Connections,
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
        window: Window::new(limit, confirmed),
        deal: Deal::new(&load.target, connections.names()),
        connections,
        refused: Vec::new(),
        again: start,
        stop,
        start,
        end: load.time_limit().map(|limit| start + limit),
        left: load.total().unwrap_or(u64::MAX),
        sent,
    };
    let outcome = publisher.work().await;
    let settled = publisher.settle(outcome.is_ok()).await;
    Published {
        messages: confirmed.load(Ordering::Acquire),
        unanswered: publisher.window.unanswered(),
        refused: publisher.refused.len() as u64,
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

/// How long after a refusal the messages go out again: by then, what a node says of the others is asked for anew.
const AGAIN_AFTER: Duration = Duration::from_millis(60);

/// How long one message may be refused. A failover takes less with the timeouts that are usual.
const REFUSED_FOR: Duration = Duration::from_secs(30);

struct Publisher<'a, F> {
    load: &'a Load,
    payload: Payload,
    deal: Deal<'a>,
    connections: Connections,
    /// To be sent again, at `again`.
    refused: Vec<Message>,
    again: Instant,
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
                let stop = self.stop;
                tokio::select! {
                    settled = self.settle_one() => settled?,
                    () = stop.asked() => return Ok(()),
                }
                continue;
            }
            self.resend().await?;
            let chunk = messages.min(self.chunk).min(self.left);
            let made = self.make(chunk);
            self.dispatch(made).await?;
            messages -= chunk;
            self.left -= chunk;
        }
        Ok(())
    }

    fn make(&mut self, messages: u64) -> Vec<Message> {
        let message = |_| {
            let id = Uuid::new_v4();
            (self.sent)(id);
            Message { name: self.deal.name_for(&mut self.payload, id), id, refused: None }
        };
        (0..messages).map(message).collect()
    }

    /// Sends what was refused, if it is time.
    async fn resend(&mut self) -> Result<(), Failure> {
        if self.refused.is_empty() || Instant::now() < self.again {
            return Ok(());
        }
        // They stay where they are counted, also if this is cancelled.
        let names: Vec<_> = self.refused.iter().map(|message| message.name).collect();
        self.find_homes(&names).await?;
        let refused = std::mem::take(&mut self.refused);
        self.dispatch(refused).await
    }

    /// Sends messages, each to the node that serves its shard. When a stop comes while that is looked for, they are not
    /// sent.
    async fn dispatch(&mut self, messages: Vec<Message>) -> Result<(), Failure> {
        let names: Vec<_> = messages.iter().map(|message| message.name).collect();
        self.find_homes(&names).await?;
        let mut pipelines: Vec<(Pipeline, Vec<Message>)> = Vec::new();
        pipelines.resize_with(self.connections.nodes(), Default::default);
        for message in messages {
            let Some(node) = self.connections.home(message.name) else {
                self.refused.extend(message.refused.map(|_| message));
                continue;
            };
            let (pipeline, sent) = &mut pipelines[node];
            pack(pipeline, self.load, self.connections.name(message.name), &mut self.payload, message.id);
            sent.push(message);
        }
        for (node, (pipeline, sent)) in pipelines.into_iter().enumerate() {
            if let Some(connection) = self.connections.to(node).filter(|_| !sent.is_empty()) {
                self.window.send(node, connection.clone(), pipeline, sent).await;
            }
        }
        Ok(())
    }

    async fn find_homes(&mut self, names: &[usize]) -> Result<(), Failure> {
        for name in names {
            if self.connections.home(*name).is_some() {
                continue;
            }
            let stop = self.stop;
            // What is sent again after a stop has its limit there.
            let is_last = stop.is_asked();
            tokio::select! {
                found = self.connections.find(*name) => found?,
                () = stop.asked(), if !is_last => return Ok(()),
            }
        }
        Ok(())
    }

    /// Waits for `until`, or a stop, looks at the replies that come meanwhile, and sends again what they refuse.
    async fn wait(&mut self, until: impl Future<Output = ()>) -> Result<(), Failure> {
        let mut until = pin!(until);
        let stop = self.stop;
        loop {
            let (is_empty, refuses, again) = (self.window.is_empty(), !self.refused.is_empty(), self.again);
            tokio::select! {
                biased;
                () = &mut until => return Ok(()),
                () = stop.asked() => return Ok(()),
                settled = self.settle_one(), if !is_empty => settled?,
                () = sleep_until(again), if refuses => self.resend().await?,
            }
        }
    }

    /// Waits for the replies to one pipeline, and keeps what is to be sent again. Can be cancelled.
    async fn settle_one(&mut self) -> Result<(), Failure> {
        let Err(trouble) = self.window.settle_one().await else { return Ok(()) };
        let failed = |connections: &Connections, name, error| {
            Err(Failure::Redis { name: connections.name(name).to_owned(), error })
        };
        match trouble {
            Trouble::Broken { node, message, error } => {
                if !self.connections.lose(node) {
                    return failed(&self.connections, message.name, error);
                }
            }
            Trouble::Refused(refused) => {
                let now = Instant::now();
                let mut failure = Ok(());
                for (mut message, error) in refused {
                    let since = *message.refused.get_or_insert(now);
                    if self.connections.follows(message.name, &error) {
                        self.refused.push(message);
                        if now - since < REFUSED_FOR {
                            continue;
                        }
                    }
                    failure = failure.and(failed(&self.connections, message.name, error));
                }
                self.again = now + AGAIN_AFTER;
                return failure;
            }
        }
        Ok(())
    }

    /// Waits for the replies that are missing: for a while, and not once a stop is insisted on. What is refused is sent
    /// `again` meanwhile. Further errors tell nothing new and are not kept.
    async fn settle(&mut self, again: bool) -> Result<(), Failure> {
        let stop = self.stop;
        let settling = async {
            let mut outcome = Ok(());
            loop {
                while !self.window.is_empty() {
                    let settled = self.settle_one().await;
                    outcome = outcome.and(settled);
                }
                if self.refused.is_empty() || !again || outcome.is_err() {
                    return outcome;
                }
                sleep_until(self.again).await;
                outcome = self.resend().await;
            }
        };
        tokio::select! {
            // Running out of time is no failure of its own: it shows as messages without an answer.
            settled = timeout(LAST_REPLIES, settling) => settled.unwrap_or(Ok(())),
            () = stop.insisted() => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.stop.is_asked() || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Adds the command that one message is.
fn pack(pipeline: &mut Pipeline, load: &Load, name: &str, payload: &mut Payload, id: Uuid) {
    let command = pipeline.cmd(load.target.command()).arg(name);
    match load.target.to {
        To::Channel => command.arg(payload.with_id(id)),
        To::Stream => command.arg("*").arg(payload.fields_with_id(id)),
    };
}

fn random_within(range: &RangeInclusive<Duration>) -> Duration {
    let width = *range.end() - *range.start();
    range.start().saturating_add(width.mul_f64(fastrand::f64()))
}
