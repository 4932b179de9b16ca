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
use super::engine::{Engine, Shared, SpillWay};
use crate::appended::Observer;
use crate::config::{Begin, Config, SourceKind};
use crate::consumer::Consumer;
use crate::error::Error;
use crate::message::Origin;
use crate::processor::Processor;
use crate::redis::control::{Control, connected};
use crate::redis::ids::{About, Membership, Names};
use crate::redis::patience::{answered, patiently};
use crate::redis::preflight;
use crate::redis::registry::{self, Reader, Registry};
use crate::redis::server::{PATIENCE, Server};
use crate::redis::setback::Setback;
use crate::sink::{Acknowledges, Size, StreamLane, Target};
use crate::slot::beside;
use crate::source::{AnySource, PubSub, Steward, Stream};

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
        let mut parts = match Parts::new(&config, ids, &shared) {
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
        let (source, drain) = match connected {
            Some(Ok(sources)) => sources,
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
        let Parts {
            control,
            mut membership,
            first_lane,
            second_lane,
            rejected,
            spill,
            mut steward,
            count,
            ..
        } = parts;
        let spill = spill.zip(drain).map(|(lane, source)| SpillWay { lane, source });
        let engine = Engine {
            config,
            consumers,
            processor,
            source,
            first_lane,
            second_lane,
            rejected,
            spill,
            workers,
            shared,
            observer,
        };
        let keeper = async {
            tokio::select! {
                error = keep(&control, &mut membership) => error,
                error = look_after(&mut steward) => error,
            }
        };
        let end = engine.run(keeper).await;
        // The last commit is made: what is still pending is for others.
        dismiss(&mut steward).await;
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
    /// The lane into the spill, if there is one.
    spill: Option<StreamLane>,
    /// Of the stream that is the input, or of the spill.
    steward: Option<Steward>,
}

impl Parts {
    fn new(config: &Config, ids: Vec<Uuid>, shared: &Shared) -> Result<Self, Error> {
        let server = Server::new(config.address.clone(), &config.tls)?;
        let process = Uuid::new_v4();
        let spill_key = config.spill();
        let names = registry::Names::of(config);
        let acknowledges = names.as_ref().map(|names| Acknowledges {
            stream: names.input.clone(),
            group: names.group.clone(),
            deletes: spill_key.is_some(),
        });
        let lane_to = |stream: &String, option, maxlen, size, acknowledges, at: usize| {
            let target =
                Target { server: server.clone(), stream: stream.clone(), option, maxlen, size, acknowledges };
            StreamLane::new(target, config.commit, beside(stream, &format!("lane:{process}:{at}")))
        };
        let lane = |stream, option, maxlen, at| {
            lane_to(stream, option, maxlen, Size::Small, acknowledges.clone(), at)
        };
        let output = |at| lane(&config.output, "output", config.maxlen, at);
        let first_lane = output(0);
        let second_lane = (config.consumers > 1).then(|| output(1));
        let rejected = lane(&config.rejected, "rejected", None, 0);
        let spill = spill_key.as_ref().map(|spill| lane_to(spill, "spill-key", None, Size::Large, None, 0));
        let about = About {
            source: match config.source {
                SourceKind::PubSub => "pubsub".to_owned(),
                SourceKind::Stream => "stream".to_owned(),
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
            lanes: [Some(&first_lane), second_lane.as_ref(), Some(&rejected), spill.as_ref()]
                .into_iter()
                .filter_map(|lane| lane?.key().map(str::to_owned))
                .collect(),
        };
        let control = Control(server.clone());
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let membership = Membership::new(control.clone(), Names::new(&config.ids_key), process, ids, about);
        let steward = names.map(|names| {
            let registry = Registry::new(control.clone(), names, PATIENCE.min(config.lease / 4));
            Steward::new(
                registry,
                config.stream.clone(),
                config.lease,
                shared.backlog.clone(),
                shared.level.clone(),
            )
        });
        Ok(Self {
            server,
            control,
            membership,
            count,
            registering: false,
            first_lane,
            second_lane,
            rejected,
            spill,
            steward,
        })
    }

    /// Connects everything, in this order: look at the keys, put the ids into their list, look at the
    /// permissions to append, subscribe.
    /// The source, and that of the spill if there is one.
    async fn connect(&mut self, config: &Config) -> Result<(AnySource, Option<AnySource>), Error> {
        let server = self.server.clone();
        patiently(&server, async || self.try_connect(config).await).await
    }

    async fn try_connect(&mut self, config: &Config) -> Result<(AnySource, Option<AnySource>), Setback> {
        let mut connection = answered(async {
            let mut connection = connected(&mut self.control).await?;
            preflight::check(&self.control, &mut connection, config).await?;
            Ok(connection)
        })
        .await?;
        self.registering = true;
        self.membership.register().await.map_err(|error| self.control.ids_setback(error))?;
        let lanes = [
            Some(&mut self.first_lane),
            self.second_lane.as_mut(),
            Some(&mut self.rejected),
            self.spill.as_mut(),
        ];
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
        match config.source {
            SourceKind::Stream => {
                let origin = Origin::Input(config.stream.payload_field.as_str().into());
                let stream = self.join(config.stream.from, origin, &config.input).await?;
                Ok((stream.ok_or_else(|| Setback::Final(super::defect()))?, None))
            }
            SourceKind::PubSub => {
                let drain = self.join(Begin::Beginning, Origin::Spill, &config.input).await?;
                let source = PubSub::open(self.server.clone(), &config.input, config.max_payload).await?;
                Ok((AnySource::PubSub(Box::new(source)), drain))
            }
        }
    }

    /// Joins the group of the stream that there is a steward for.
    async fn join(
        &mut self,
        begin: Begin,
        origin: Origin,
        channel: &str,
    ) -> Result<Option<AnySource>, Setback> {
        let Some(steward) = &mut self.steward else { return Ok(None) };
        steward.join(begin).await?;
        let mut reader = Reader::new(self.server.clone(), steward.names().clone(), origin.clone());
        reader.connect().await?;
        Ok(Some(AnySource::Stream(Box::new(Stream::new(reader, steward, begin, origin, channel)))))
    }

    async fn leave(mut self) {
        dismiss(&mut self.steward).await;
        if self.registering {
            let count = self.count;
            leave(&mut self.membership, count).await;
        }
    }
}

/// Keeps the tenure for as long as it is asked to. Comes back only when that is refused for good.
async fn look_after(steward: &mut Option<Steward>) -> Error {
    match steward {
        Some(steward) => steward.run().await,
        None => pending().await,
    }
}

async fn dismiss(steward: &mut Option<Steward>) {
    let Some(steward) = steward else { return };
    let end = timeout(RELEASE_PATIENCE, steward.leave()).await;
    let cause = match end {
        Ok(Ok(())) => return,
        Ok(Err(Setback::Passing(cause))) => cause,
        Ok(Err(Setback::Final(error))) => error.to_string(),
        Err(_) => "Redis does not answer".to_owned(),
    };
    tracing::warn!("what is still pending for this process stays so until its lease is over: {cause}");
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
