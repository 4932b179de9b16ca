//! The start: connects, checks and registers everything before the first message is received.

use std::sync::Arc;

use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;
use tracing::Span;
use uuid::Uuid;

use super::engine::{Failure, Shared};
use super::lifecycle::{Lifecycle, Ready};
use super::{ConsumerGroup, Handle, Shard};
use crate::buffer::Buffer;
use crate::config::Config;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::hooks::Hooks;
use crate::intake::Limit;
use crate::processor::Processor;
use crate::redis::cluster::Cluster;
use crate::redis::connection::{listen, refresh};
use crate::redis::preflight;
use crate::redis::server::Server;
use crate::sink::Keep;
use crate::source::SharedReplay;
use crate::status::Status;
use crate::text::{messages, seconds};

/// Starts a group, or one for each shard, on its own thread. The consumers run on the runtime of the caller. `None` if
/// `until` completes first.
pub(super) async fn start<P: Processor>(
    config: Config,
    processor: P,
    hooks: Hooks,
    name: Option<String>,
    until: impl Future,
) -> Result<Option<ConsumerGroup>, Error> {
    let server = Server::new(config.address.clone(), &config.tls)?;
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let (shards, groups) = prepare(&config, &server, processor, &hooks, (&stop, &abort));
    let handle = Handle::new(shards, stop, abort);
    let span = name.map_or_else(Span::none, |name| tracing::error_span!("group", group = name));
    span.in_scope(|| config.warn_without_effect());
    let (send_started, mut started) = oneshot::channel();
    let living = live(groups, server, handle.clone(), send_started);
    let ended = spawn(living, handle.clone(), span.clone())?;

    // From here on the group ends with its handle, also when the caller drops the future of the start.
    let mut group = ConsumerGroup { handle, ended: Some(ended) };
    tokio::select! {
        biased;
        answer = &mut started => answer.unwrap_or_else(|_| Err(super::defect()))?,
        _ = until => {
            group.abort();
            // The thread answers, or drops the sender, when it has left Redis. It limits how long that may take.
            if let Ok(Ok(())) = started.await {
                // The start was faster. What the group has received meanwhile is in its ledger, which nobody reads.
                drop(group.join().await);
            }
            return Ok(None);
        }
    }
    span.in_scope(|| preflight::log_start(&config));
    Ok(Some(group))
}

/// The shards that run here, and what runs each of them: one of both without shards.
fn prepare<P: Processor>(
    config: &Config,
    server: &Arc<Server>,
    processor: P,
    hooks: &Hooks,
    (stop, abort): (&CancellationToken, &CancellationToken),
) -> (Vec<Shard>, Vec<Lifecycle<P>>) {
    let processor = Arc::new(processor);
    let limit = config.max_messages.map(|most| Arc::new(Limit::new(most)));
    let keep = Keep { time: config.keep, memory: Buffer::new(config.buffer) };
    let (mut shards, mut groups) = (Vec::new(), Vec::new());
    let by_shard = config.by_shard();
    let statuses = Status::of_shards(by_shard.len());
    let replays = SharedReplay::of_shards(by_shard.len());
    for (((number, config), status), replay) in by_shard.into_iter().zip(statuses).zip(replays) {
        let ids: Vec<_> = (0..config.consumers).map(|_| Uuid::new_v4()).collect();
        let consumers: Vec<_> =
            ids.iter().enumerate().map(|(at, id)| Consumer::new(number, at, *id)).collect();
        let shared = Shared::new(
            config.buffer,
            stop.clone(),
            abort.clone(),
            limit.clone(),
            hooks.of_shard(number),
            status,
        );
        shards.push(Shard::new(number, consumers.clone(), shared.clone()));
        groups.push(Lifecycle {
            config,
            server: server.clone(),
            keep: keep.clone(),
            ids,
            consumers,
            processor: processor.clone(),
            workers: runtime::Handle::current(),
            shared,
            replay,
        });
    }
    (shards, groups)
}

/// Runs this future on a thread of its own, and returns a receiver of its result.
fn spawn(
    living: impl Future<Output = Option<Result<(), Error>>> + Send + 'static,
    handle: Handle,
    span: Span,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let system = |what| move |source| Error::System { what, source };
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start the runtime of the group's connections"))?;
    let (send_ended, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("redis-consumer-group".to_owned())
        .spawn(move || {
            let _named = span.enter();
            let ended = Ended(handle);
            let end = LocalSet::new().block_on(&runtime, living);
            drop(ended);
            if let Some(end) = end {
                // The receiver may be dropped.
                drop(send_ended.send(end));
            }
        })
        .map_err(system("cannot start the thread of the group's connections"))?;
    Ok(ended)
}

/// Marks all shards as ended when the thread ends for any reason.
struct Ended(Handle);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.shards().iter().for_each(|shard| shard.status().ends());
    }
}

/// Starts all groups, runs them to their end, and leaves nothing behind. `None` when they did not start running.
///
/// When one of them ends, with or without an error, the others stop: see [`Shared::stop`].
async fn live<P: Processor>(
    groups: Vec<Lifecycle<P>>,
    server: Arc<Server>,
    handle: Handle,
    started: oneshot::Sender<Result<(), Error>>,
) -> Option<Result<(), Error>> {
    let mut watch = JoinSet::new();
    watch.spawn(watch_server(server));
    let ready = match connect(groups, handle.aborting()).await {
        Ok(ready) => ready?,
        Err(error) => {
            drop(started.send(Err(error)));
            return None;
        }
    };
    // A caller that does not wait any more has dropped the handle, so the group ends at once.
    drop(started.send(Ok(())));
    let mut running = JoinSet::new();
    for ready in ready {
        running.spawn_local(ready.run());
    }
    let stopping = handle.clone();
    let mut logging = JoinSet::new();
    logging.spawn(async move {
        stopping.stopping().cancelled().await;
        let left = stopping.ledger().in_flight();
        tracing::info!(event = "stop", count = left, "stopping: {} left to finish", messages(left));
    });
    let mut failure = Failure::default();
    while let Some(end) = running.join_next().await {
        failure.note(end);
        handle.stop();
    }
    let ledger = handle.ledger();
    tracing::info!(
        event = "end",
        received = ledger.received,
        processed = ledger.processed,
        rejected = ledger.rejected,
        dropped = ledger.dropped,
        abandoned = ledger.abandoned,
        gaps = ledger.gaps.count,
        gap_seconds = seconds(ledger.gaps.total),
        "ended: {ledger}"
    );
    Some(failure.0.map_or(Ok(()), Err))
}

/// Connects all groups. `None` when the start was aborted. In that case, and after an error, all of them have left.
async fn connect<P: Processor>(
    groups: Vec<Lifecycle<P>>,
    abort: &CancellationToken,
) -> Result<Option<Vec<Ready<P>>>, Error> {
    let all = groups.len();
    let mut connecting = JoinSet::new();
    for lifecycle in groups {
        connecting.spawn_local(lifecycle.connect());
    }
    let (mut ready, mut failure) = (Vec::new(), Failure::default());
    while let Some(end) = connecting.join_next().await {
        match end {
            Ok(Ok(connected)) => ready.extend(connected),
            refused => {
                failure.note(refused.map(|end| end.map(drop)));
                abort.cancel();
            }
        }
    }
    if failure.0.is_none() && ready.len() == all {
        return Ok(Some(ready));
    }
    let mut leaving = JoinSet::new();
    for ready in ready {
        leaving.spawn_local(ready.leave());
    }
    leaving.join_all().await;
    failure.0.map_or(Ok(None), Err)
}

/// Asks regularly for the topology of a cluster, or for the primary of a service of sentinels; listens to what
/// sentinels announce; renews credentials that expire. Tasks that wait for a change are notified.
async fn watch_server(server: Arc<Server>) {
    let asking = async {
        loop {
            tokio::time::sleep(Cluster::REFRESH).await;
            refresh(&server, Cluster::REFRESH / 2).await;
        }
    };
    tokio::join!(asking, listen(&server), server.renew_credentials());
}
