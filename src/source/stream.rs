//! The source `stream`, read through its consumer group. The spill is read in the same way.
//!
//! ```text
//!   membership   keeps the epoch, finds dead members, counts    (source/stream/membership.rs)
//!      │ takeovers: which ones are due                          (source/stream/takeovers.rs)
//!   reading      reads, hands entries to the intake             (source/stream/reading.rs)
//!      ├ recovery: reconnects, asks for lost answers again      (source/stream/recovery.rs)
//!      ├ takeover: claims the entries of a dead member          (source/stream/takeover.rs)
//!      ├ trimmed: entries that were trimmed before a read       (source/stream/trimmed.rs)
//!      ├ replay: which rejected messages are processed again    (source/stream/replay.rs)
//!      └ flow: how many entries the consumers can start soon    (source/stream/flow.rs)
//! ```

mod flow;
mod membership;
mod reading;
mod recovery;
mod replay;
mod takeover;
mod takeovers;
mod trimmed;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub(crate) use self::membership::Membership;
use self::reading::Reading;
pub(crate) use self::replay::{Replaying, Shared as SharedReplay};
use self::takeovers::Takeovers;
use self::trimmed::Trimmed;
use super::Source;
use crate::config::Begin;
use crate::error::Error;
use crate::intake::Intake;
use crate::message::Origin;
use crate::redis::outage::{Outage, Task};
use crate::redis::registry::{Reader, Registry};

/// A stream whose group exists.
pub(crate) struct Stream {
    reader: Reader,
    registry: Registry,
    takeovers: Arc<Takeovers>,
    begin: Begin,
    origin: Origin,
    stream: Arc<str>,
    /// The name that messages give as their source: for a spill, the channel they were published to.
    channel: Arc<str>,
    /// Counts entries that were trimmed unread.
    trimmed: Trimmed,
    /// Reports failing attempts to read.
    outage: Outage,
    /// The replay, if this is the stream of rejected messages.
    replaying: Option<Arc<Replaying>>,
}

impl Stream {
    /// The source for a membership that has joined. `reader` is connected. `channel` is the name that its
    /// messages give as their source.
    pub(crate) fn new(
        reader: Reader,
        membership: &Membership,
        begin: Begin,
        origin: Origin,
        channel: &str,
    ) -> Self {
        let registry = membership.another_registry();
        Self {
            stream: registry.names.input.as_str().into(),
            outage: Outage::new(Task::Read(registry.names.input.clone()), membership.status()),
            takeovers: membership.takeovers(),
            trimmed: Trimmed::new(membership.trims()),
            reader,
            registry,
            begin,
            origin,
            channel: channel.into(),
            replaying: None,
        }
    }

    /// Makes this source a replay, which ends by itself.
    pub(crate) fn replays(self, replaying: Replaying) -> Self {
        Self { replaying: Some(Arc::new(replaying)), ..self }
    }
}

impl Source for Stream {
    async fn run(self, intake: Intake, stop: CancellationToken) -> Result<(), Error> {
        Reading::new(self, intake, stop).run().await
    }
}
