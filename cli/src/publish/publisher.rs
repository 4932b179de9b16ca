//! The work itself: messages onto the connections, at the pace of the load.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::mem;
use std::ops::RangeInclusive;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Pipeline, RedisError};
use redis_consumer_group::Error;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::connections::Connections;
use super::deal::Deal;
use super::lines::{Lines, Message};
use super::load::Load;
use super::metronome::Metronome;
use super::pace::{Pace, Rate};
use super::payload::Payload;
use super::target::To;
use super::window::{Trouble, Window};
use crate::stop::Stop;

/// What came of a load.
#[derive(Debug)]
pub(crate) struct Published {
    /// Messages that the server confirmed.
    pub(crate) messages: u64,
    /// The part of `messages` that reached nobody, where the servers know that.
    pub(crate) unheard: u64,
    /// Messages that were sent, and of which the server said nothing up to the end.
    pub(crate) unanswered: u64,
    /// Messages that nobody took up to the end: no node of a cluster served their shard, or no primary was known.
    pub(crate) not_taken: u64,
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
/// In a cluster, what a node refuses because it does not serve the shard any more is sent again to the one that does; and
/// while a node is away, the others go on.
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
    let waiting = (LINES_BYTES / payload.len()).clamp(chunk, LINES_MESSAGES);
    let start = Instant::now();
    let mut publisher = Publisher {
        load,
        payload,
        chunk,
        deal: Deal::new(&load.target, connections.names()),
        lines: Lines::new(connections.names(), waiting),
        window: Window::new(limit, confirmed),
        connections,
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
        unheard: if publisher.connections.know_the_receivers(&load.target) {
            publisher.window.unheard()
        } else {
            0
        },
        unanswered: publisher.window.unanswered(),
        not_taken: publisher.lines.waiting() as u64,
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

/// All lines of a cluster together. They hold ids only, so it is no matter of memory: what waits in them is to be out
/// within [`LAST_REPLIES`] of the end. An even rate of 10,000 a second goes on for 30 s while one node of three is away.
const LINES_MESSAGES: usize = 100_000;
const LINES_BYTES: usize = 256 << 20;

/// How long to wait, after a stop or an error, for the last replies of a server that has gone silent, and for who takes what
/// waits in lines.
const LAST_REPLIES: Duration = Duration::from_secs(10);

/// How long one message may find nobody who takes it. A failover takes less with the timeouts that are usual.
const STUCK_FOR: Duration = Duration::from_secs(30);

struct Publisher<'a, F> {
    load: &'a Load,
    payload: Payload,
    deal: Deal<'a>,
    lines: Lines,
    connections: Connections,
    /// Messages of one pipeline.
    chunk: usize,
    window: Window<'a>,
    stop: &'a Stop,
    start: Instant,
    end: Option<Instant>,
    /// Messages that are still to be made.
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

    /// Sends so many messages, or fewer if the end comes first. They may wait in their lines when this returns.
    async fn send(&mut self, mut messages: u64) -> Result<(), Failure> {
        let stop = self.stop;
        while messages > 0 && !self.is_over() {
            if !self.has_room() {
                let end = self.end;
                tokio::select! {
                    happened = self.something() => happened?,
                    () = stop.asked() => return Ok(()),
                    () = at(end) => return Ok(()),
                }
                self.pump();
                continue;
            }
            let chunk = messages.min(self.left).min(self.chunk.min(self.lines.room()) as u64);
            (0..chunk).for_each(|_| self.make());
            self.pump();
            messages -= chunk;
            self.left -= chunk;
        }
        Ok(())
    }

    /// Whether more messages are to be made: unless the lines are full, or the nodes of all names are busy. So lines grow
    /// only where one does not keep up with the others, or is away.
    fn has_room(&self) -> bool {
        let is_busy = |name| self.connections.home(name).is_some_and(|node| !self.window.has_room(node));
        self.lines.room() > 0 && !(0..self.connections.names()).all(is_busy)
    }

    fn make(&mut self) {
        let id = Uuid::new_v4();
        (self.sent)(id);
        self.lines.join(Message { name: self.deal.name_for(&mut self.payload, id), id, stuck: None });
    }

    /// Moves messages from the lines onto the pipelines of the nodes that serve them and have room, and begins to look
    /// for who serves the others. It waits for nothing.
    fn pump(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let mut packs = BTreeMap::<usize, Vec<Message>>::new();
        for name in self.lines.in_turn() {
            if self.lines.first(name).is_none() {
                continue;
            }
            self.connections.seek(name);
            while let Some(node) = self.connections.home(name).filter(|node| self.window.has_room(*node)) {
                let pack = packs.entry(node).or_default();
                pack.extend(self.lines.leave(name, self.chunk - pack.len()));
                if pack.len() < self.chunk {
                    break;
                }
                let pack = mem::take(pack);
                self.send_pack(node, pack);
            }
        }
        for (node, pack) in packs.into_iter().filter(|(_, pack)| !pack.is_empty()) {
            self.send_pack(node, pack);
        }
    }

    fn send_pack(&mut self, node: usize, pack: Vec<Message>) {
        let Some(connection) = self.connections.to(node) else { return self.lines.come_back(pack) };
        let mut pipeline = Pipeline::with_capacity(pack.len());
        for message in &pack {
            let name = self.connections.name(message.name);
            add_command(&mut pipeline, self.load, name, &mut self.payload, message.id);
        }
        self.window.send(node, connection.clone(), pipeline, pack);
    }

    /// Waits for `until`, or a stop, and keeps the lines moving meanwhile.
    async fn wait(&mut self, until: impl Future<Output = ()>) -> Result<(), Failure> {
        let mut until = pin!(until);
        let stop = self.stop;
        loop {
            tokio::select! {
                biased;
                () = &mut until => return Ok(()),
                () = stop.asked() => return Ok(()),
                happened = self.something() => happened?,
            }
            self.pump();
        }
    }

    /// Waits for what may let the lines move: the replies to one pipeline, an answer to who serves a name, or that there
    /// should have been a reply by now. For ever when there is nothing of that to come; can be cancelled.
    async fn something(&mut self) -> Result<(), Failure> {
        let (is_empty, silent_at) = (self.window.is_empty(), self.window.silent_at());
        tokio::select! {
            settled = self.window.settle_one(), if !is_empty => match settled {
                Ok(()) => Ok(()),
                Err(trouble) => self.look_at(trouble),
            },
            found = self.connections.found() => match found {
                Err((name, error)) if !self.is_patient(name, &error) => Err(error.into()),
                _ => Ok(()),
            },
            () = at(silent_at) => {
                for node in self.window.silent() {
                    self.connections.suspect(node);
                }
                Ok(())
            }
        }
    }

    /// Keeps what is to be sent again.
    fn look_at(&mut self, trouble: Trouble) -> Result<(), Failure> {
        match trouble {
            Trouble::Broken { node, message, error } => {
                if self.connections.lose(node) {
                    Ok(())
                } else {
                    self.failed(message.name, error)
                }
            }
            Trouble::Refused { node, refused } => {
                let now = Instant::now();
                let (mut again, mut outcome) = (Vec::new(), Ok(()));
                for (mut message, error) in refused {
                    let since = *message.stuck.get_or_insert(now);
                    if self.connections.follows(message.name, node, &error) {
                        again.push(message);
                        if now - since < STUCK_FOR {
                            continue;
                        }
                    }
                    outcome = outcome.and(self.failed(message.name, error));
                }
                self.lines.come_back(again);
                outcome
            }
        }
    }

    fn failed(&self, name: usize, error: RedisError) -> Result<(), Failure> {
        Err(Failure::Redis { name: self.connections.name(name).to_owned(), error })
    }

    /// Whether to look once more for who serves a name. A search takes some seconds before it ends like this.
    fn is_patient(&mut self, name: usize, error: &Error) -> bool {
        let (first, now) = (self.lines.first(name), Instant::now());
        let since = first.map(|message| *message.stuck.get_or_insert(now));
        matches!(error, Error::Unreachable { .. } | Error::NotReady { .. })
            && since.is_none_or(|since| now - since < STUCK_FOR)
    }

    /// Waits for the replies that are missing, and `sends` what waits in lines: for a while, and not once a stop is
    /// insisted on. Nothing more is sent after an error; further ones tell nothing new and are not kept.
    async fn settle(&mut self, sends: bool) -> Result<(), Failure> {
        let mut outcome = Ok(());
        self.settle_for(LAST_REPLIES, sends, &mut outcome).await;
        // At an end that nobody has asked for, a node that is away has as long as in the middle.
        if sends && outcome.is_ok() && !self.lines.is_empty() && !self.stop.is_asked() {
            self.settle_for(STUCK_FOR - LAST_REPLIES, sends, &mut outcome).await;
        }
        outcome
    }

    /// Running out of time is no failure of its own: it shows as messages without an answer, or in line.
    async fn settle_for(&mut self, limit: Duration, sends: bool, outcome: &mut Result<(), Failure>) {
        let stop = self.stop;
        let settling = async {
            loop {
                let goes_on = sends && outcome.is_ok();
                if goes_on {
                    self.pump();
                }
                if self.window.is_empty() && (self.lines.is_empty() || !goes_on) {
                    return;
                }
                let happened = self.something().await;
                if outcome.is_ok() {
                    *outcome = happened;
                }
            }
        };
        tokio::select! {
            () = settling => {}
            () = sleep(limit) => {}
            () = stop.insisted() => {}
        }
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.stop.is_asked() || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Comes back then, or never.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

/// Adds the command that one message is.
fn add_command(pipeline: &mut Pipeline, load: &Load, name: &str, payload: &mut Payload, id: Uuid) {
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
