//! The components of a group: its lanes, its ids, its source.

use std::sync::Arc;
use std::time::SystemTime;

use uuid::Uuid;

use super::engine::{Lanes, Shared, Sources};
use crate::config::{Begin, Config, SourceKind};
use crate::error::Error;
use crate::message::{Earlier, Origin};
use crate::redis::channel::{Channel, ChannelKind};
use crate::redis::connection::explore;
use crate::redis::control::Control;
use crate::redis::fault::Fault;
use crate::redis::ids::{About, Names, Registration};
use crate::redis::nodes::Nodes;
use crate::redis::preflight;
use crate::redis::registry::{self, Reader, Registry};
use crate::redis::server::{RESPONSE_TIMEOUT, Server};
use crate::redis::startup::{answered, retry_at_start};
use crate::sink::{Acknowledges, Keep, Size, StreamLane, Target};
use crate::slot::beside;
use crate::source::{AnySource, Membership, PubSub, Replaying, SharedReplay, Stream};
use crate::status::Status;

/// The components of a group, before its source is open.
pub(super) struct Components {
    server: Arc<Server>,
    status: Status,
    /// Connection for the ids.
    pub(super) control: Control,
    pub(super) registration: Registration<Control>,
    /// The number of ids in the registration.
    pub(super) count: u32,
    /// Whether some of the ids may already be in their list in Redis.
    pub(super) registering: bool,
    pub(super) lanes: Lanes<StreamLane>,
    /// Membership of the stream that is the input, or of the spill.
    pub(super) membership: Option<Membership>,
    /// State that the shards of a replay share.
    replays: Option<SharedReplay>,
}

impl Components {
    pub(super) fn new(
        config: &Config,
        server: &Arc<Server>,
        keep: &Keep,
        ids: Vec<Uuid>,
        shared: &Shared,
        shared_replay: &SharedReplay,
    ) -> Self {
        let process = Uuid::new_v4();
        let names = registry::Names::of(config);
        let lanes = lanes(config, server, keep, shared, process, names.as_ref());
        let control = Control(server.of(&config.ids_key));
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        let registration = Registration::new(
            control.clone(),
            Names::new(&config.ids_key),
            process,
            ids,
            about(config, &lanes),
            shared.status.clone(),
        );
        let replays =
            names.as_ref().is_some_and(registry::Names::is_of_replay).then(|| shared_replay.clone());
        let membership = names.map(|names| {
            let control = Control(server.of(&names.input));
            let registry = Registry::new(control, names, RESPONSE_TIMEOUT.min(config.lease / 4));
            Membership::new(
                registry,
                config.stream.clone(),
                config.lease,
                shared.backlog.clone(),
                shared.level.clone(),
                shared.status.clone(),
            )
        });
        Self {
            server: server.clone(),
            status: shared.status.clone(),
            control,
            registration,
            count,
            registering: false,
            lanes,
            membership,
            replays,
        }
    }

    /// Connects everything, in this order: check the keys, put the ids into their list, check the permissions to
    /// append, subscribe.
    pub(super) async fn connect(&mut self, config: &Config) -> Result<Sources<AnySource>, Error> {
        let server = self.server.clone();
        retry_at_start(&server, async || self.try_connect(config).await).await
    }

    async fn try_connect(&mut self, config: &Config) -> Result<Sources<AnySource>, Fault> {
        explore(&self.server).await?;
        let mut nodes = Nodes::new(self.server.clone());
        answered(preflight::check(&mut nodes, config)).await?;
        self.registering = true;
        self.registration.register().await.map_err(|error| self.control.ids_fault(error))?;
        self.rehearse().await?;
        answered(preflight::warn(&mut nodes, config)).await?;
        match config.source {
            SourceKind::Stream => {
                let origin = Origin::Input(config.stream.payload_field.as_str().into());
                let stream = self.join(config.stream.begin_at, origin, &config.input).await?;
                let input = stream.ok_or_else(|| Fault::Permanent(super::defect()))?;
                Ok(Sources { input: AnySource::Stream(Box::new(input)), spill: None })
            }
            SourceKind::Rejected => {
                let input = self.join_replay(config).await?;
                let input = input.ok_or_else(|| Fault::Permanent(super::defect()))?;
                Ok(Sources { input: AnySource::Stream(Box::new(input)), spill: None })
            }
            SourceKind::PubSub | SourceKind::Sharded => {
                let kind = match config.source {
                    SourceKind::Sharded => ChannelKind::Sharded,
                    _ => ChannelKind::Plain,
                };
                let spill = self.join(Begin::Beginning, Origin::Spill, &config.input).await?;
                let spill = spill.map(|spill| AnySource::Stream(Box::new(spill)));
                let channel = Channel::new(&config.input, kind);
                let source =
                    PubSub::open(self.server.of_channel(&channel), channel, config.max_payload, &self.status)
                        .await?;
                Ok(Sources { input: AnySource::PubSub(Box::new(source)), spill })
            }
        }
    }

    /// Lets the server check the commits of all lanes.
    async fn rehearse(&mut self) -> Result<(), Fault> {
        for lane in self.lanes.iter_mut() {
            if let Err(fault) = lane.rehearse().await {
                match fault {
                    Fault::Permanent(error) => return Err(Fault::Permanent(error)),
                    // The lane cannot append now. Messages can still be received, and wait.
                    Fault::Transient(cause) => lane.cannot_append(&cause),
                }
            }
        }
        Ok(())
    }

    /// Joins the consumer group of the stream, if there is a membership.
    async fn join(&mut self, begin: Begin, origin: Origin, channel: &str) -> Result<Option<Stream>, Fault> {
        let Some(membership) = &mut self.membership else { return Ok(None) };
        membership.join(begin).await?;
        let mut reader = Reader::new(
            self.server.of(&membership.names().input),
            membership.names().clone(),
            origin.clone(),
        );
        reader.connect().await?;
        Ok(Some(Stream::new(reader, membership, begin, origin, channel)))
    }

    /// Joins the consumer group that replays rejected messages.
    async fn join_replay(&mut self, config: &Config) -> Result<Option<Stream>, Fault> {
        let payload_field: Arc<str> = config.stream.payload_field.as_str().into();
        let origin = Origin::Rejected(Arc::new(Earlier {
            payload_field: payload_field.clone(),
            source_id: None,
            attempts: 0,
        }));
        let selection = config.replay.clone();
        let Some(stream) = self.join(selection.begin(), origin, &config.rejected).await? else {
            return Ok(None);
        };
        let (Some(membership), Some(shared)) = (&mut self.membership, self.replays.clone()) else {
            return Ok(None);
        };
        let last = membership.last_entry().await?;
        let until = selection.ids.iter().max().map_or(last, |id| last.min(*id));
        Ok(Some(stream.replays(Replaying { selection, until, payload_field, shared })))
    }
}

/// All lanes of the process. They are not connected yet. `names`: those of the stream that is read.
fn lanes(
    config: &Config,
    server: &Arc<Server>,
    keep: &Keep,
    shared: &Shared,
    process: Uuid,
    names: Option<&registry::Names>,
) -> Lanes<StreamLane> {
    let acknowledges = names.map(|names| Acknowledges {
        stream: names.input.clone(),
        group: names.group.clone(),
        option: names.option,
        deletes: names.is_of_replay(),
    });
    let key = |stream: &str, at: usize| beside(stream, &format!("lane:{process}:{at}"));
    let lane_to = |stream: &String, option, maxlen, size, acknowledges| {
        let target = Target {
            server: server.of(stream),
            stream: stream.clone(),
            option,
            maxlen,
            size,
            keep: keep.clone(),
            counts: shared.counts.clone(),
            status: shared.status.clone(),
            acknowledges,
        };
        StreamLane::new(target, config.commit, key(stream, 0))
    };
    let lane = |stream, option, maxlen| lane_to(stream, option, maxlen, Size::Small, acknowledges.clone());
    let first = lane(&config.output, "output", config.maxlen);
    let second = (config.consumers > 1).then(|| first.another(config.commit, key(&config.output, 1)));
    // During a replay, trimming for messages that are rejected again would remove entries that are still to be
    // replayed.
    let rejected_maxlen = config.rejected_maxlen.filter(|_| config.source != SourceKind::Rejected);
    let rejected = lane(&config.rejected, "rejected", rejected_maxlen);
    let spill = config.spill().map(|spill| lane_to(&spill, "spill-key", None, Size::Large, None));
    Lanes { first, second, rejected, spill }
}

/// What the registration says about the process.
fn about(config: &Config, lanes: &Lanes<StreamLane>) -> About {
    let is_replay = config.source == SourceKind::Rejected;
    About {
        source: match config.source {
            SourceKind::PubSub => "pubsub".to_owned(),
            SourceKind::Sharded => "sharded".to_owned(),
            SourceKind::Stream => "stream".to_owned(),
            SourceKind::Rejected => "rejected".to_owned(),
        },
        input: if is_replay { config.rejected.clone() } else { config.input.clone() },
        output: config.output.clone(),
        host: std::fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned()),
        pid: std::process::id(),
        started: SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        lease: config.lease,
        lanes: lanes.iter().filter_map(|lane| lane.key().map(str::to_owned)).collect(),
    }
}
