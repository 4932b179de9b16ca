//! Publishes messages to the current primary until the test ends, and judges the output.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd, pipe};
use redis_consumer_group::{Builder, ConsumerGroup, Failure, Message, Processor, Record};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::fixture::{LONG, Service, connection};
use crate::support::{INPUT, eventually, payload};

/// Records the payload of each message that reaches the processor. These messages count as received.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Vec<String>>>);

impl Witness {
    /// Gives the group a processor that records each message and appends it.
    pub(crate) fn beside<P: Processor>(&self, builder: Builder<P>) -> Builder<impl Processor + use<P>> {
        let witness = self.0.clone();
        builder.processor(move |_, message: Message| {
            let id = std::str::from_utf8(message.payload()).unwrap().to_owned();
            witness.lock().unwrap().push(id.clone());
            async move { Ok::<_, Failure>(Record::new().field("message_id", id)) }
        })
    }

    /// Checks that each received message is in the output once, and nothing else is.
    pub(crate) fn judge(&self, appended: &[String]) {
        let received = self.0.lock().unwrap();
        let set = |ids: &[String]| ids.iter().cloned().collect::<HashSet<_>>();
        let (once_received, once_appended) = (set(&received), set(appended));
        assert_eq!(once_received.len(), received.len(), "some were processed twice");
        assert_eq!(once_appended.len(), appended.len(), "some are in the output twice");
        let lost = once_received.difference(&once_appended).count();
        let strange = once_appended.difference(&once_received).count();
        assert_eq!((lost, strange), (0, 0), "of {} that were received", received.len());
    }
}

/// How messages get to the input.
#[derive(Clone, Copy)]
pub(crate) enum To {
    /// A channel: the payload is the id.
    Channel,
    /// A stream: each entry has a `message_id`.
    Stream,
}

/// How long to wait for a server before trying another one.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Publishes a thousand messages a second, with ids counted from 0.
pub(crate) struct Load {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Load {
    pub(crate) fn start(service: &Service, to: To) -> Self {
        const TICK: Duration = Duration::from_millis(5);
        let stop = CancellationToken::new();
        let (sockets, stopped) = (service.sockets(), stop.clone());
        let task = tokio::spawn(async move {
            let (mut open, mut next) = (None, 0);
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !stopped.is_cancelled() {
                ticks.tick().await;
                let connection = match &mut open {
                    Some(connection) => connection,
                    none => match primary_of(&sockets).await {
                        Some(connection) => none.insert(connection),
                        None => continue,
                    },
                };
                let mut pipeline = pipe();
                for id in next..next + 5 {
                    match to {
                        To::Channel => pipeline.cmd("PUBLISH").arg(INPUT).arg(id).ignore(),
                        To::Stream => {
                            pipeline.cmd("XADD").arg(INPUT).arg("*").arg("message_id").arg(id).ignore()
                        }
                    };
                }
                next += 5;
                let done = timeout(TIMEOUT, pipeline.exec_async(connection)).await;
                if !matches!(done, Ok(Ok(()))) {
                    open = None;
                }
            }
        });
        Self { stop, task }
    }

    /// Waits until the group has received and appended something new. Sentinels may take ten seconds or more to make a
    /// former primary a replica, and until then the load goes there.
    pub(crate) async fn reaches(&self, group: &ConsumerGroup) {
        let (received, processed) = (group.ledger().received, group.ledger().processed);
        eventually(LONG, "the group receives and appends", async || {
            let ledger = group.ledger();
            ledger.received > received && ledger.processed > processed
        })
        .await;
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn primary_of(sockets: &[String]) -> Option<MultiplexedConnection> {
    for socket in sockets {
        let asking = async {
            let mut connection = connection(socket).await?;
            let role: Vec<redis::Value> = cmd("ROLE").query_async(&mut connection).await?;
            RedisResult::Ok((connection, redis::from_redis_value::<String>(role[0].clone())?))
        };
        match timeout(TIMEOUT, asking).await {
            Ok(Ok((connection, role))) if role == "master" => return Some(connection),
            _ => {}
        }
    }
    None
}

/// Publishes messages of the usual form at one server, checks that each reaches a subscriber, and returns their ids.
pub(crate) async fn publish(service: &Service, node: usize, count: usize) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|id| id.to_string()).collect();
    let mut pipeline = pipe();
    for id in &ids {
        pipeline.cmd("PUBLISH").arg(INPUT).arg(payload(id));
    }
    let heard: Vec<u64> = pipeline.query_async(&mut service.connection(node).await).await.unwrap();
    assert!(heard.iter().all(|heard| *heard == 1), "nobody is subscribed to {INPUT}");
    ids
}
