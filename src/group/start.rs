//! The start: everything is connected, checked and registered before the first message.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::ConsumerGroup;
use super::engine::{Engine, Shared};
use crate::appended::Observer;
use crate::config::{Config, SourceKind};
use crate::consumer::Consumer;
use crate::error::Error;
use crate::processor::Processor;
use crate::redis::control::{Control, connected};
use crate::redis::ids::{About, Membership, Names};
use crate::redis::patience::{answered, patiently};
use crate::redis::preflight;
use crate::redis::server::Server;
use crate::redis::setback::Setback;
use crate::redis::slot::beside;
use crate::sink::{StreamLane, Target};
use crate::source::PubSub;

/// How long taking back the ids may hold up an end.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
/// And how much longer it may for each id.
const RELEASE_PER_ID: Duration = Duration::from_millis(1);

/// Starts a group on a thread of its own, with the consumers on the runtime of the caller.
pub(super) async fn start<P: Processor>(
    config: Config,
    processor: P,
    observer: Option<Observer>,
) -> Result<ConsumerGroup, Error> {
    let ids: Vec<_> = (0..config.consumers).map(|_| Uuid::new_v4()).collect();
    let consumers: Vec<_> = ids.iter().enumerate().map(|(at, id)| Consumer::new(at, *id)).collect();
    let shared = Shared::new();
    let life = Life {
        config,
        ids,
        consumers: consumers.clone(),
        processor,
        workers: Handle::current(),
        shared: shared.clone(),
        observer,
    };
    let (tell_started, started) = oneshot::channel();
    let (tell_ended, ended) = oneshot::channel();

    let system = |what| move |source| Error::System { what, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot start the runtime of the group's connections"))?;
    std::thread::Builder::new()
        .name("redis-consumer-group".to_owned())
        .spawn(move || {
            if let Some(end) = runtime.block_on(life.live(tell_started)) {
                // Nobody may be listening any more.
                drop(tell_ended.send(end));
            }
        })
        .map_err(system("cannot start the thread of the group's connections"))?;

    // From here on the group ends with its handle, also when nobody waits for the start any more.
    let group = ConsumerGroup { consumers, shared, ended: Some(ended) };
    started.await.unwrap_or_else(|_| Err(super::defect()))?;
    Ok(group)
}

/// A group on its thread.
struct Life<P> {
    config: Config,
    ids: Vec<Uuid>,
    consumers: Vec<Consumer>,
    processor: P,
    workers: Handle,
    shared: Arc<Shared>,
    observer: Option<Observer>,
}

impl<P: Processor> Life<P> {
    /// Starts, runs, and leaves nothing behind. `None` when it did not come to run.
    async fn live(self, started: oneshot::Sender<Result<(), Error>>) -> Option<Result<(), Error>> {
        let Self { config, ids, consumers, processor, workers, shared, observer } = self;
        let mut parts = match Parts::new(&config, ids) {
            Ok(parts) => parts,
            Err(error) => {
                drop(started.send(Err(error)));
                return None;
            }
        };
        let connected = tokio::select! {
            connected = parts.connect(&config) => Some(connected),
            () = shared.abort.cancelled() => None,
        };
        let source = match connected {
            Some(Ok(source)) => source,
            connected => {
                parts.leave().await;
                if let Some(Err(error)) = connected {
                    drop(started.send(Err(error)));
                }
                return None;
            }
        };
        // Whoever does not wait for it any more has dropped the handle, and the group ends at once.
        drop(started.send(Ok(())));
        let Parts { control, mut membership, first_lane, second_lane, rejected, count, .. } = parts;
        let engine = Engine {
            config,
            consumers,
            processor,
            source,
            first_lane,
            second_lane,
            rejected,
            workers,
            shared,
            observer,
        };
        let end = engine.run(keep(&control, &mut membership)).await;
        leave(&mut membership, count).await;
        Some(end)
    }
}

/// What a group is made of, before its source is open.
struct Parts {
    server: Arc<Server>,
    control: Control,
    membership: Membership<Control>,
    /// How many ids the membership has.
    count: u32,
    registering: bool,
    first_lane: StreamLane,
    /// While the first one waits for its confirmation, the server works for this one.
    second_lane: Option<StreamLane>,
    rejected: StreamLane,
}

impl Parts {
    fn new(config: &Config, ids: Vec<Uuid>) -> Result<Self, Error> {
        let server = Server::new(config.address.clone(), &config.tls)?;
        let process = Uuid::new_v4();
        let lane = |stream: &String, option, maxlen, at: usize| {
            let target = Target { server: server.clone(), stream: stream.clone(), option, maxlen };
            StreamLane::new(target, config.commit, beside(stream, &format!("lane:{process}:{at}")))
        };
        let output = |at| lane(&config.output, "output", config.maxlen, at);
        let first_lane = output(0);
        let second_lane = (config.consumers > 1).then(|| output(1));
        let rejected = lane(&config.rejected, "rejected", None, 0);
        let about = About {
            source: match config.source {
                SourceKind::PubSub => "pubsub".to_owned(),
            },
            input: config.input.clone(),
            output: config.output.clone(),
            host: std::fs::read_to_string("/proc/sys/kernel/hostname")
                .ok()
                .map(|name| name.trim().to_owned()),
            pid: std::process::id(),
            started: SystemTime::UNIX_EPOCH
                .elapsed()
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            lease: config.lease,
            lanes: [Some(&first_lane), second_lane.as_ref(), Some(&rejected)]
                .into_iter()
                .filter_map(|lane| lane?.key().map(str::to_owned))
                .collect(),
        };
        let control = Control(server.clone());
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let membership = Membership::new(control.clone(), Names::new(&config.ids_key), process, ids, about);
        Ok(Self { server, control, membership, count, registering: false, first_lane, second_lane, rejected })
    }

    /// Connects everything, in this order: look at the keys, put the ids into their list, look at the
    /// permissions to append, subscribe.
    async fn connect(&mut self, config: &Config) -> Result<PubSub, Error> {
        let server = self.server.clone();
        patiently(&server, async || self.try_connect(config).await).await
    }

    async fn try_connect(&mut self, config: &Config) -> Result<PubSub, Setback> {
        let mut connection = answered(async {
            let mut connection = connected(&mut self.control).await?;
            preflight::check(&self.control, &mut connection, config).await?;
            Ok(connection)
        })
        .await?;
        self.registering = true;
        self.membership.register().await.map_err(|error| self.control.ids_setback(error))?;
        let lanes = [Some(&mut self.first_lane), self.second_lane.as_mut(), Some(&mut self.rejected)];
        for lane in lanes.into_iter().flatten() {
            if let Err(setback) = lane.rehearse().await {
                match setback {
                    Setback::Final(error) => return Err(Setback::Final(error)),
                    // It takes no records now. Messages can be received and wait.
                    Setback::Passing(cause) => {
                        tracing::warn!("{} takes no records now: {cause}", lane.stream())
                    }
                }
            }
        }
        answered(preflight::warn(&mut connection, config)).await?;
        PubSub::open(self.server.clone(), &config.input, config.max_payload).await
    }

    async fn leave(mut self) {
        if self.registering {
            let count = self.count;
            leave(&mut self.membership, count).await;
        }
    }
}

/// Keeps the lease for as long as it is asked to. Comes back only when that is refused for good.
async fn keep(control: &Control, membership: &mut Membership<Control>) -> Error {
    let forever = CancellationToken::new();
    loop {
        match membership.keep(&forever).await {
            Ok(()) => pending().await,
            Err(error) => {
                if let Setback::Final(error) = control.ids_setback(error) {
                    return error;
                }
            }
        }
    }
}

async fn leave(membership: &mut Membership<Control>, count: u32) {
    match timeout(RELEASE_PATIENCE + RELEASE_PER_ID * count, membership.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("the ids stay in their list until the lease is over: {error}"),
        Err(_) => tracing::warn!("the ids stay in their list until the lease is over: Redis does not answer"),
    }
}
