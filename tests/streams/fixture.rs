//! The start of the tests (entries in a stream, groups that read it) and their end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::pipe;
use redis_consumer_group::{
    Builder, Consumer, Failure, JsonProcessor, Message, Processor, Record, SourceKind,
};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval};

use crate::support::{IDS, INPUT, LIMIT, OUTPUT, REJECTED, Server, eventually};

/// The name that groups have by default.
pub(crate) const GROUP: &str = "processors";
/// Short, so that leases expire soon.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// A builder for a group at the stream.
pub(crate) fn group_at(server: &Server) -> Builder<JsonProcessor> {
    server.group().source(SourceKind::Stream).lease(LEASE)
}

/// Gives the group a processor that takes a permit of the gate for each message.
pub(crate) fn gated<P: Processor>(builder: Builder<P>, gate: &Arc<Semaphore>) -> Builder<impl Processor> {
    let gate = gate.clone();
    builder.processor(move |_: Consumer, message: Message| {
        let gate = gate.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok::<_, Failure>(record_with_id(&message))
        }
    })
}

pub(crate) fn record_with_id(message: &Message) -> Record {
    let (_, id) = message.fields().find(|(field, _)| *field == b"message_id").unwrap();
    Record::new().bytes("message_id", id)
}

pub(crate) fn gate() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// Appends entries with the `message_id`s of this range to the input.
pub(crate) async fn append(server: &Server, ids: std::ops::Range<usize>) -> Vec<String> {
    let ids: Vec<_> = ids.map(|id| id.to_string()).collect();
    let mut connection = server.connection().await;
    for chunk in ids.chunks(1000) {
        let mut pipeline = pipe();
        for id in chunk {
            pipeline.cmd("XADD").arg(INPUT).arg("*").arg("message_id").arg(id).ignore();
        }
        pipeline.exec_async(&mut connection).await.unwrap();
    }
    ids
}

/// Appends this many entries at an even rate.
pub(crate) async fn append_within(server: &Server, count: usize, time: Duration) -> Vec<String> {
    const TICK: Duration = Duration::from_millis(10);
    let a_tick = count.div_ceil((time.as_millis() / TICK.as_millis()) as usize);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut connection = server.connection().await;
    let ids: Vec<_> = (0..count).map(|id| id.to_string()).collect();
    for chunk in ids.chunks(a_tick) {
        ticks.tick().await;
        let mut pipeline = pipe();
        for id in chunk {
            pipeline.cmd("XADD").arg(INPUT).arg("*").arg("message_id").arg(id).ignore();
        }
        pipeline.exec_async(&mut connection).await.unwrap();
    }
    ids
}

/// How many entries are pending in the group: 0 before it is created.
pub(crate) async fn pending(server: &Server) -> usize {
    let mut ask = redis::cmd("XPENDING");
    ask.arg(INPUT).arg(GROUP);
    type Summary = (usize, redis::Value, redis::Value, redis::Value);
    match ask.query_async::<Summary>(&mut server.connection().await).await {
        Ok((count, ..)) => count,
        Err(error) if error.code() == Some("NOGROUP") => 0,
        Err(error) => panic!("{error}"),
    }
}

/// The number of pending entries of each consumer in the group.
pub(crate) async fn holders(server: &Server) -> HashMap<String, usize> {
    let consumers: Vec<HashMap<String, redis::Value>> =
        server.run(&format!("XINFO CONSUMERS {INPUT} {GROUP}")).await;
    consumers
        .into_iter()
        .map(|mut consumer| {
            let name = redis::from_redis_value(consumer.remove("name").unwrap()).unwrap();
            (name, redis::from_redis_value(consumer.remove("pending").unwrap()).unwrap())
        })
        .collect()
}

/// Waits until this many entries are in the output, and none is pending.
pub(crate) async fn drained(server: &Server, entries: usize, limit: Duration) {
    eventually(limit, &format!("{entries} entries are in the output and none is pending"), async || {
        server.length(OUTPUT).await + server.length(REJECTED).await >= entries && pending(server).await == 0
    })
    .await;
}

/// Checks, after all processes have stopped, that only the streams are left and the group has no consumers.
pub(crate) async fn assert_nothing_left_behind(server: &Server) {
    assert_eq!(server.ids().await, [""; 0], "in {IDS}");
    assert_eq!(pending(server).await, 0);
    assert_eq!(holders(server).await, HashMap::new(), "in the group");
    let keys: Vec<_> =
        server.keys().await.into_iter().filter(|key| ![INPUT, OUTPUT, REJECTED].contains(&&**key)).collect();
    assert_eq!(keys, [""; 0], "beside the streams");
}

/// Waits with the usual limit.
pub(crate) async fn soon(what: &str, condition: impl AsyncFnMut() -> bool) {
    eventually(LIMIT, what, condition).await;
}
