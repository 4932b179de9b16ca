//! Sends messages to the servers: shared by `publish`, `load` and `demo`.
//!
//! ```text
//!   publish, load ──► Publisher ──► lines ──► window ──► connections
//!   (which message,     │ deal       (what     (pipelines   (one to each node that serves a
//!    and when)          │ (which      waits     without      shard; an unknown node is searched
//!                       │  shard)     for its   a reply)     in the background)
//!                       │             node)
//!                       │      ▲                  │
//!                       │      └── resend ◄───────┘
//!                       ├─ target: a channel, a stream, or their shards
//!                       ├─ trouble: messages that were refused, or whose connection broke
//!                       ├─ outage, progress: output while publishing
//!                       └─ end, summary, failure: the last replies, and the output at the end
//! ```

mod connections;
mod deal;
mod end;
mod failure;
mod lines;
mod outage;
mod progress;
mod summary;
mod target;
mod trouble;
mod window;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::mem;
use std::pin::pin;

use redis::Pipeline;
use redis_consumer_group::Error;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::connections::Connections;
pub(crate) use self::failure::{Failure, explain};
pub(crate) use self::progress::Progress;
pub(crate) use self::summary::{Published, Summary, report};
pub(crate) use self::target::{Sharding, Target, TargetArgs};

use self::deal::Deal;
use self::lines::{Lines, Message};
use self::outage::Outage;
use self::target::To;
use self::window::Window;
use crate::stop::Stop;

/// What to do with messages that have no reply when their connection breaks: they may or may not be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncertain {
    /// Count them as unconfirmed. A message is never published twice.
    Count,
    /// Send them again. Each message is published at least once.
    Resend,
}

/// The limits of one pipeline: large enough that the cost of a system call does not matter, small enough to stop
/// quickly.
pub(crate) const CHUNK_MESSAGES: usize = 500;
const CHUNK_BYTES: usize = 256 << 10;

/// Publishes messages, and follows names that move to other servers. It works only while one of its methods is awaited,
/// so the caller awaits everything else through [`Publisher::wait`].
pub(crate) struct Publisher<'a> {
    target: &'a Target,
    uncertain: Uncertain,
    deal: Deal<'a>,
    lines: Lines,
    window: Window<'a>,
    connections: Connections,
    outage: Outage,
    stop: &'a Stop,
    progress: &'a Progress,
    start: Instant,
    made: u64,
    /// Messages that had no reply when a connection broke, and are not sent again.
    unconfirmed: u64,
    /// Messages that count as not published, although they were never accepted.
    left_out: u64,
}

impl<'a> Publisher<'a> {
    pub(crate) fn new(
        connections: Connections,
        target: &'a Target,
        uncertain: Uncertain,
        stop: &'a Stop,
        progress: &'a Progress,
    ) -> Self {
        Self {
            target,
            uncertain,
            deal: Deal::new(target, connections.names()),
            lines: Lines::new(connections.names()),
            window: Window::new(&progress.confirmed),
            connections,
            outage: Outage::default(),
            stop,
            progress,
            start: Instant::now(),
            made: 0,
            unconfirmed: 0,
            left_out: 0,
        }
    }

    /// Accepts a message. It waits in its line for [`Publisher::pump`]. The caller has checked for room.
    ///
    /// # Errors
    /// If the message lacks the member that decides its shard.
    pub(crate) fn add(&mut self, payload: Vec<u8>) -> Result<(), Failure> {
        let number = self.made + 1;
        let name = self
            .deal
            .name_for(&payload)
            .map_err(|member| Failure::NoMember { number, member: member.to_owned() })?;
        self.made = number;
        self.lines.join(Message { number, name, payload, refused: None, is_uncertain: false });
        Ok(())
    }

    /// Counts messages as not published that were to be published and are not accepted.
    pub(crate) fn leave_out(&mut self, messages: u64) {
        self.left_out += messages;
    }

    /// Whether to accept more messages: the lines have room, and at least one name can be sent one. So lines grow only
    /// if one node is slower than the others, or down.
    pub(crate) fn has_room(&self) -> bool {
        let takes = |name| match self.connections.home(name) {
            Some(node) => self.window.has_room(node),
            // The first message for a name starts the search for its node.
            None => self.lines.is_empty(),
        };
        self.lines.has_room() && (0..self.connections.names()).any(takes)
    }

    /// Waits for room. False if a stop is requested or `end` comes first.
    ///
    /// # Errors
    /// The failure that ends publishing.
    pub(crate) async fn room(&mut self, end: Option<Instant>) -> Result<bool, Failure> {
        let stop = self.stop;
        while !self.has_room() {
            tokio::select! {
                happened = self.something() => happened?,
                () = stop.asked() => return Ok(false),
                () = at(end) => return Ok(false),
            }
            self.pump();
        }
        Ok(true)
    }

    /// Moves messages from the lines into pipelines of the nodes that serve them and have room, and starts searches for
    /// the other names. Does not wait.
    pub(crate) fn pump(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        let mut packs = BTreeMap::<usize, (Vec<Message>, usize)>::new();
        for name in self.lines.in_turn() {
            if self.lines.is_empty_of(name) {
                continue;
            }
            self.connections.seek(name);
            while let Some(node) = self.connections.home(name).filter(|node| self.takes(*node, name)) {
                let most = if self.is_tried(node) { 1 } else { CHUNK_MESSAGES };
                let (pack, bytes) = packs.entry(node).or_default();
                let Some(message) = self.lines.leave(name) else { break };
                *bytes += message.payload.len();
                pack.push(message);
                if pack.len() >= most || *bytes >= CHUNK_BYTES {
                    let (pack, _) = mem::take(packs.entry(node).or_default());
                    self.send(node, pack);
                }
            }
        }
        for (node, (pack, _)) in packs {
            self.send(node, pack);
        }
    }

    /// Whether a message for this name may be sent to this node now. Where messages keep their order, those that another
    /// node has not answered come first: they may have to be sent again.
    fn takes(&self, node: usize, name: usize) -> bool {
        let is_free =
            || !self.window.is_elsewhere(name, node) && (!self.is_tried(node) || self.window.is_idle(node));
        self.window.has_room(node) && (!self.keeps_order() || is_free())
    }

    /// Whether one message has to show first that the node accepts messages: it could refuse some, because it is
    /// loading, and accept those behind them.
    fn is_tried(&self, node: usize) -> bool {
        self.keeps_order() && !self.window.accepts(node)
    }

    fn keeps_order(&self) -> bool {
        matches!(self.uncertain, Uncertain::Resend)
    }

    fn send(&mut self, node: usize, pack: Vec<Message>) {
        if pack.is_empty() {
            return;
        }
        let Some(connection) = self.connections.to(node) else {
            pack.iter().for_each(|message| self.connections.seek(message.name));
            return self.lines.come_back(pack);
        };
        let mut pipeline = Pipeline::with_capacity(pack.len());
        for message in &pack {
            let command = pipeline.cmd(self.target.command()).arg(self.connections.name(message.name));
            match self.target.to {
                To::Channel => command.arg(&message.payload),
                To::Stream => command.arg("*").arg("payload").arg(&message.payload),
            };
        }
        self.window.send(node, (*connection).clone(), pipeline, pack);
    }

    /// Waits for `until`, and publishes meanwhile. `None` if a stop is requested first.
    ///
    /// # Errors
    /// The failure that ends publishing.
    pub(crate) async fn wait<T>(&mut self, until: impl Future<Output = T>) -> Result<Option<T>, Failure> {
        let mut until = pin!(until);
        let stop = self.stop;
        loop {
            tokio::select! {
                biased;
                done = &mut until => return Ok(Some(done)),
                () = stop.asked() => return Ok(None),
                happened = self.something() => happened?,
            }
            self.pump();
        }
    }

    /// Waits for an event that may let the lines move: the replies to one pipeline, a step of a search, or a node that
    /// has become silent. Waits forever if none of these can happen. Cancel safe.
    async fn something(&mut self) -> Result<(), Failure> {
        let (is_empty, silent_at) = (self.window.is_empty(), self.window.silent_at());
        tokio::select! {
            settled = self.window.settle_one(), if !is_empty => match settled {
                Ok(()) => self.goes_on(),
                Err(trouble) => return self.look_at(trouble),
            },
            found = self.connections.found() => if let Err((_, error)) = found {
                match error {
                    Error::Unreachable { cause, .. } | Error::NotReady { cause, .. } => self.fails(&cause),
                    error => return Err(error.into()),
                }
            },
            () = at(silent_at) => self.look_for_silence(),
        }
        Ok(())
    }
}

/// Sleeps until then; forever if it is `None`.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
