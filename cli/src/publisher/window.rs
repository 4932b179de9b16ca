//! Messages that were sent and have no reply yet: a bounded number of pipelines to each node.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::lines::Message;

/// Pipelines without a reply, the oldest first for each node. A connection's own task writes and reads concurrently, so
/// the two sides cannot wait for each other with full buffers.
///
/// A connection replies in order, so only the oldest pipeline of each node is polled.
pub(crate) struct Window<'a> {
    /// By node number.
    nodes: Vec<OnTheirWay>,
    /// Messages that a server confirmed. The progress bar reads it meanwhile.
    confirmed: &'a AtomicU64,
    /// The part of them that may be published twice.
    repeated: u64,
    /// The part of them that had no subscriber.
    unheard: u64,
    /// The node that is polled first, in rotation.
    turn: usize,
}

/// The messages of a pipeline that were not confirmed.
pub(crate) enum Trouble {
    /// The node refused these messages.
    Refused { node: usize, refused: Vec<(Message, RedisError)> },
    /// The connection to the node broke before the reply.
    Broken { node: usize, messages: Vec<Message>, error: RedisError },
}

/// The pipelines that one node has not answered.
struct OnTheirWay {
    pipelines: VecDeque<OnItsWay>,
    /// The size of all their payloads.
    bytes: usize,
    /// The time of its last reply, or of the first pipeline after that.
    quiet_since: Instant,
    /// How many of their messages are for each name.
    names: HashMap<usize, usize>,
    /// Whether it has accepted a message and refused none since.
    accepts: bool,
    /// The same as `quiet_since`, or when it was last reported as silent.
    told_at: Instant,
}

struct OnItsWay {
    messages: Vec<Message>,
    bytes: usize,
    replies: Replies,
}

/// The limits of unanswered pipelines to one node: enough that neither side waits for the other.
const PIPELINES: usize = 8;
const BYTES: usize = 16 << 20;

type Replies = Pin<Box<dyn Future<Output = RedisResult<Vec<Value>>> + Send>>;

/// A node is silent after this long without a reply. This is also the time between two reports of it.
const SILENT_AFTER: Duration = Duration::from_secs(1);

impl<'a> Window<'a> {
    pub(crate) fn new(confirmed: &'a AtomicU64) -> Self {
        Self { nodes: Vec::new(), confirmed, repeated: 0, unheard: 0, turn: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| node.pipelines.is_empty())
    }

    /// Whether there is room for one more pipeline to a node.
    pub(crate) fn has_room(&self, node: usize) -> bool {
        self.nodes.get(node).is_none_or(|node| node.pipelines.len() < PIPELINES && node.bytes < BYTES)
    }

    /// Whether the node accepts messages, as far as is known. One that has just started refuses some and accepts the next.
    pub(crate) fn accepts(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.accepts)
    }

    /// Whether this node has nothing to answer.
    pub(crate) fn is_idle(&self, node: usize) -> bool {
        self.nodes.get(node).is_none_or(|node| node.pipelines.is_empty())
    }

    /// Whether another node than this one has unanswered messages for this name.
    pub(crate) fn is_elsewhere(&self, name: usize, node: usize) -> bool {
        let mut others = self.nodes.iter().enumerate().filter(|(number, _)| *number != node);
        others.any(|(_, other)| other.names.contains_key(&name))
    }

    /// Messages that were sent and have no reply yet.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.nodes.iter().flat_map(|node| &node.pipelines).flat_map(|pipeline| &pipeline.messages)
    }

    /// Confirmed messages that had been sent before over a connection that broke.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Published messages without a subscriber, as far as their servers know.
    pub(crate) fn unheard(&self) -> u64 {
        self.unheard
    }

    /// Sends a pipeline of these messages over the connection of a node. The caller has checked for room.
    pub(crate) fn send(
        &mut self,
        node: usize,
        mut connection: MultiplexedConnection,
        pipeline: Pipeline,
        messages: Vec<Message>,
    ) {
        let mut replies: Replies = Box::pin(unconstrained(async move {
            connection.req_packed_commands(&pipeline, 0, pipeline.len()).await
        }));
        // The first poll puts the pipeline into the connection's queue, in the order of these calls. It is
        // `unconstrained` because Tokio's budget could defer it. The waker is a no-op: `poll_answer` polls the
        // oldest pipeline again, with its own waker.
        if let Poll::Ready(answer) = replies.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            replies = Box::pin(ready(answer));
        }
        let now = Instant::now();
        if self.nodes.len() <= node {
            self.nodes.resize_with(node + 1, || OnTheirWay::since(now));
        }
        let node = &mut self.nodes[node];
        if node.pipelines.is_empty() {
            (node.quiet_since, node.told_at) = (now, now);
        }
        let bytes = messages.iter().map(|message| message.payload.len()).sum();
        node.bytes += bytes;
        for run in messages.chunk_by(|one, next| one.name == next.name) {
            *node.names.entry(run[0].name).or_default() += run.len();
        }
        node.pipelines.push_back(OnItsWay { messages, bytes, replies });
    }

    /// When the next node becomes silent unless it replies before.
    pub(crate) fn silent_at(&self) -> Option<Instant> {
        let busy = self.nodes.iter().filter(|node| !node.pipelines.is_empty());
        busy.map(|node| node.told_at + SILENT_AFTER).min()
    }

    /// The nodes that are silent, and for how long. Each is returned once per `SILENT_AFTER`.
    pub(crate) fn silent(&mut self) -> Vec<(usize, Duration)> {
        let now = Instant::now();
        let mut silent = Vec::new();
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if !node.pipelines.is_empty() && now >= node.told_at + SILENT_AFTER {
                node.told_at = now;
                silent.push((number, now - node.quiet_since));
            }
        }
        silent
    }

    /// Gives up on this node. Returns the messages that were sent to it and have no reply.
    pub(crate) fn give_up(&mut self, node: usize) -> Vec<Message> {
        self.nodes[node].bytes = 0;
        self.nodes[node].names.clear();
        self.nodes[node].pipelines.drain(..).flat_map(|pipeline| pipeline.messages).collect()
    }

    /// Waits until a node has answered its oldest pipeline, and counts each reply. Returns at once if nothing is
    /// unanswered. Cancel safe.
    ///
    /// # Errors
    /// The messages that were not confirmed.
    pub(crate) async fn settle_one(&mut self) -> Result<(), Trouble> {
        if self.is_empty() {
            return Ok(());
        }
        let (node, messages, answer) = poll_fn(|context| self.poll_answer(context)).await;
        match answer {
            Ok(replies) => self.look_at(node, messages, replies),
            Err(error) => Err(Trouble::Broken { node, messages, error }),
        }
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(usize, Vec<Message>, RedisResult<Vec<Value>>)> {
        let (all, first) = (self.nodes.len(), self.turn);
        for number in (first..all).chain(0..first.min(all)) {
            let node = &mut self.nodes[number];
            let Some(oldest) = node.pipelines.front_mut() else { continue };
            if let Poll::Ready(answer) = oldest.replies.as_mut().poll(context) {
                let now = Instant::now();
                (node.quiet_since, node.told_at) = (now, now);
                let Some(OnItsWay { messages, bytes, .. }) = node.pipelines.pop_front() else { continue };
                node.bytes -= bytes;
                for run in messages.chunk_by(|one, next| one.name == next.name) {
                    if let Entry::Occupied(mut count) = node.names.entry(run[0].name) {
                        *count.get_mut() -= run.len();
                        if *count.get() == 0 {
                            count.remove();
                        }
                    }
                }
                self.turn = number + 1;
                return Poll::Ready((number, messages, answer));
            }
        }
        Poll::Pending
    }

    fn look_at(&mut self, node: usize, messages: Vec<Message>, replies: Vec<Value>) -> Result<(), Trouble> {
        let mut refused = Vec::new();
        let mut confirmed = 0;
        for (message, reply) in messages.into_iter().zip(replies) {
            match reply.extract_error() {
                Ok(reply) => {
                    confirmed += 1;
                    self.unheard += u64::from(reply == Value::Int(0));
                    self.repeated += u64::from(message.is_uncertain);
                }
                Err(error) => refused.push((message, error)),
            }
        }
        self.confirmed.fetch_add(confirmed, Ordering::AcqRel);
        self.nodes[node].accepts = refused.is_empty();
        if refused.is_empty() { Ok(()) } else { Err(Trouble::Refused { node, refused }) }
    }
}

impl OnTheirWay {
    fn since(now: Instant) -> Self {
        Self {
            pipelines: VecDeque::new(),
            bytes: 0,
            quiet_since: now,
            names: HashMap::new(),
            accepts: false,
            told_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::{AsyncConnectionConfig, RedisConnectionInfo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::advance;

    use super::*;

    /// A connection, and the server's end of it.
    async fn connected() -> (MultiplexedConnection, DuplexStream) {
        let (ours, theirs) = duplex(1 << 20);
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, ours, config).await.unwrap();
        tokio::spawn(driver);
        (connection, theirs)
    }

    /// Reads a request and then replies: the client would drop a reply without a request.
    async fn answer(server: &mut DuplexStream, answer: &[u8]) {
        let mut request = [0; b"*1\r\n$4\r\nPING\r\n".len()];
        server.read_exact(&mut request).await.unwrap();
        server.write_all(answer).await.unwrap();
    }

    fn send(window: &mut Window<'_>, node: usize, connection: &MultiplexedConnection) {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("PING");
        let message =
            Message { number: 0, name: 0, payload: vec![0; 100], refused: None, is_uncertain: false };
        window.send(node, connection.clone(), pipeline, vec![message]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_answer_is_called_silent_once_a_second() {
        let confirmed = AtomicU64::new(0);
        let ((connection, _silent), mut window) = (connected().await, Window::new(&confirmed));
        assert_eq!(window.silent_at(), None);
        send(&mut window, 1, &connection);
        for seconds in 1..=3 {
            let at = window.silent_at().unwrap();
            assert_eq!(at - Instant::now(), SILENT_AFTER);
            advance(SILENT_AFTER / 2).await;
            // A message that is sent meanwhile is not a reply.
            send(&mut window, 1, &connection);
            assert_eq!((window.silent(), window.silent_at()), (vec![], Some(at)));
            advance(SILENT_AFTER / 2).await;
            assert_eq!(window.silent(), [(1, seconds * SILENT_AFTER)]);
        }
        assert_eq!(window.messages().count(), 4);
        assert_eq!(window.give_up(1).len(), 4);
        assert!(window.is_empty() && window.has_room(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_answers_late_but_again_and_again_is_not_silent() {
        let confirmed = AtomicU64::new(0);
        let ((connection, mut server), mut window) = (connected().await, Window::new(&confirmed));
        (0..4).for_each(|_| send(&mut window, 0, &connection));
        for answered in 1..=4 {
            advance(SILENT_AFTER - Duration::from_millis(1)).await;
            assert_eq!(window.silent(), []);
            answer(&mut server, b"+PONG\r\n").await;
            assert!(window.settle_one().await.is_ok());
            assert_eq!(confirmed.load(Ordering::Acquire), answered);
        }
        assert_eq!(window.silent_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_node_has_a_window_of_its_own() {
        let confirmed = AtomicU64::new(0);
        let ((connection, mut server), mut window) = (connected().await, Window::new(&confirmed));
        (0..PIPELINES).for_each(|_| send(&mut window, 0, &connection));
        assert!(!window.has_room(0) && window.has_room(1));
        answer(&mut server, b"-MOVED 1 a:1\r\n").await;
        let Err(Trouble::Refused { node: 0, refused }) = window.settle_one().await else { panic!() };
        assert_eq!((refused.len(), refused[0].1.code()), (1, Some("MOVED")));
        assert!(window.has_room(0));
        drop(server);
        for _ in 1..PIPELINES {
            let Err(Trouble::Broken { node: 0, messages, .. }) = window.settle_one().await else { panic!() };
            assert_eq!(messages.len(), 1);
        }
        assert!(window.is_empty());
    }
}
