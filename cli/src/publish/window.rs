//! What was sent and not answered yet: a bounded number of pipelines on one connection.

use std::collections::VecDeque;
use std::future::{Future, poll_fn, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, RedisError, RedisResult, Value};
use tokio::task::coop::unconstrained;

/// Pipelines on their way, oldest first. The connection's own task writes and reads at the same time, so
/// neither side waits for the other with full buffers.
///
/// One connection answers in order: only the oldest pipeline is ever waited for.
pub(crate) struct Window<'a> {
    connection: MultiplexedConnection,
    limit: usize,
    on_their_way: VecDeque<OnItsWay>,
    /// Messages that the server confirmed. Others read it while we count.
    confirmed: &'a AtomicU64,
    /// Messages that were sent when the connection broke: nobody knows.
    unanswered: u64,
}

struct OnItsWay {
    messages: u64,
    replies: Replies,
}

type Replies = Pin<Box<dyn Future<Output = RedisResult<Vec<Value>>> + Send>>;

impl<'a> Window<'a> {
    /// A window for this many pipelines.
    pub(crate) fn new(connection: MultiplexedConnection, limit: usize, confirmed: &'a AtomicU64) -> Self {
        Self { connection, limit, on_their_way: VecDeque::new(), confirmed, unanswered: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.on_their_way.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.on_their_way.len() >= self.limit
    }

    /// Messages that were sent and have not been answered.
    pub(crate) fn unanswered(&self) -> u64 {
        self.unanswered + self.on_their_way.iter().map(|pipeline| pipeline.messages).sum::<u64>()
    }

    /// Hands a pipeline to the connection. The caller looked for room.
    pub(crate) async fn send(&mut self, pipeline: Pipeline) {
        let mut connection = self.connection.clone();
        let messages = pipeline.len() as u64;
        let mut replies: Replies = Box::pin(unconstrained(async move {
            connection.req_packed_commands(&pipeline, 0, pipeline.len()).await
        }));
        // The first poll puts it into the connection's queue, in the order of these calls. `unconstrained`,
        // because Tokio would defer that once our task has done much in one go.
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(replies.as_mut().poll(context))).await {
            replies = Box::pin(ready(answer));
        }
        self.on_their_way.push_back(OnItsWay { messages, replies });
    }

    /// Waits for the replies to the oldest pipeline and looks at each. Returns at once when there is none; can
    /// be cancelled.
    ///
    /// # Errors
    /// The first error among the replies, or what ended the connection.
    pub(crate) async fn settle_one(&mut self) -> Result<(), RedisError> {
        let Some(oldest) = self.on_their_way.front_mut() else { return Ok(()) };
        let answer = oldest.replies.as_mut().await;
        let messages = self.on_their_way.pop_front().map_or(0, |oldest| oldest.messages);
        let replies = answer.inspect_err(|_| self.unanswered += messages)?;
        let mut failure = None;
        let mut confirmed = 0;
        for reply in replies {
            match reply.extract_error() {
                Ok(_) => confirmed += 1,
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        self.confirmed.fetch_add(confirmed, Ordering::AcqRel);
        failure.map_or(Ok(()), Err)
    }

    /// Waits for everything that is on its way. Further errors tell nothing new and are not kept.
    pub(crate) async fn settle_all(&mut self) -> Result<(), RedisError> {
        let mut outcome = Ok(());
        while !self.is_empty() {
            let settled = self.settle_one().await;
            outcome = outcome.and(settled);
        }
        outcome
    }
}
