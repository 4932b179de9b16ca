//! What was sent and not answered yet: a bounded number of pipelines to each node.

use std::collections::VecDeque;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use uuid::Uuid;

/// Pipelines on their way, for each node the oldest first. A connection's own task writes and reads at the same
/// time, so neither side waits for the other with full buffers.
///
/// One connection answers in order: of each node only the oldest pipeline is ever waited for.
pub(crate) struct Window<'a> {
    /// Pipelines on their way to one node.
    limit: usize,
    /// By the numbers of the nodes.
    on_their_way: Vec<VecDeque<OnItsWay>>,
    /// Messages that a server confirmed. Others read it while we count.
    confirmed: &'a AtomicU64,
    /// Messages that were sent when a connection broke: nobody knows.
    unanswered: u64,
}

/// A message that can be sent again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message {
    /// Its place among the names of the target.
    pub(crate) name: usize,
    pub(crate) id: Uuid,
    /// When it was refused for the first time.
    pub(crate) refused: Option<Instant>,
}

/// What was not confirmed of a pipeline.
pub(crate) enum Trouble {
    /// The server refused these.
    Refused(Vec<(Message, RedisError)>),
    /// The connection to this node ended before it answered; one of the messages that were sent.
    Broken { node: usize, message: Message, error: RedisError },
}

struct OnItsWay {
    messages: Vec<Message>,
    replies: Replies,
}

type Replies = Pin<Box<dyn Future<Output = RedisResult<Vec<Value>>> + Send>>;

impl<'a> Window<'a> {
    /// A window for this many pipelines to each node.
    pub(crate) fn new(limit: usize, confirmed: &'a AtomicU64) -> Self {
        Self { limit, on_their_way: Vec::new(), confirmed, unanswered: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.on_their_way.iter().all(VecDeque::is_empty)
    }

    /// Whether a node has as much to answer as it may have.
    pub(crate) fn is_full(&self) -> bool {
        self.on_their_way.iter().any(|pipelines| pipelines.len() >= self.limit)
    }

    /// Messages that were sent and have not been answered.
    pub(crate) fn unanswered(&self) -> u64 {
        let pipelines = self.on_their_way.iter().flatten();
        self.unanswered + pipelines.map(|pipeline| pipeline.messages.len() as u64).sum::<u64>()
    }

    /// Hands a pipeline of these messages to the connection of a node. The caller looked for room.
    pub(crate) async fn send(
        &mut self,
        node: usize,
        mut connection: MultiplexedConnection,
        pipeline: Pipeline,
        messages: Vec<Message>,
    ) {
        let mut replies: Replies = Box::pin(unconstrained(async move {
            connection.req_packed_commands(&pipeline, 0, pipeline.len()).await
        }));
        // The first poll puts it into the connection's queue, in the order of these calls. `unconstrained`,
        // because Tokio would defer that once our task has done much in one go.
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(replies.as_mut().poll(context))).await {
            replies = Box::pin(ready(answer));
        }
        if self.on_their_way.len() <= node {
            self.on_their_way.resize_with(node + 1, VecDeque::new);
        }
        self.on_their_way[node].push_back(OnItsWay { messages, replies });
    }

    /// Waits until a node has answered its oldest pipeline, and looks at each reply. Returns at once when there is
    /// nothing on its way; can be cancelled.
    ///
    /// # Errors
    /// What was not confirmed.
    pub(crate) async fn settle_one(&mut self) -> Result<(), Trouble> {
        if self.is_empty() {
            return Ok(());
        }
        let (node, messages, answer) = poll_fn(|context| self.poll_answer(context)).await;
        match answer {
            Ok(replies) => self.look_at(messages, replies),
            Err(error) => {
                self.unanswered += messages.len() as u64;
                messages
                    .first()
                    .map_or(Ok(()), |message| Err(Trouble::Broken { node, message: *message, error }))
            }
        }
    }

    fn poll_answer(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(usize, Vec<Message>, RedisResult<Vec<Value>>)> {
        for (node, pipelines) in self.on_their_way.iter_mut().enumerate() {
            let Some(oldest) = pipelines.front_mut() else { continue };
            if let Poll::Ready(answer) = oldest.replies.as_mut().poll(context) {
                let messages = pipelines.pop_front().map(|oldest| oldest.messages).unwrap_or_default();
                return Poll::Ready((node, messages, answer));
            }
        }
        Poll::Pending
    }

    fn look_at(&self, messages: Vec<Message>, replies: Vec<Value>) -> Result<(), Trouble> {
        let mut refused = Vec::new();
        let mut confirmed = 0;
        for (message, reply) in messages.into_iter().zip(replies) {
            match reply.extract_error() {
                Ok(_) => confirmed += 1,
                Err(error) => refused.push((message, error)),
            }
        }
        self.confirmed.fetch_add(confirmed, Ordering::AcqRel);
        if refused.is_empty() { Ok(()) } else { Err(Trouble::Refused(refused)) }
    }
}
