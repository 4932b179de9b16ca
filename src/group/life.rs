//! The life of one group: connected, checked and registered, run, and taken leave of.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::engine::{Engine, Shared, SpillWay};
use super::parts::{Parts, Sources};
use crate::appended::Observer;
use crate::config::Config;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::processor::Processor;
use crate::redis::control::Control;
use crate::redis::ids::Membership;
use crate::redis::server::Server;
use crate::redis::setback::Setback;
use crate::sink::Keep;
use crate::source::Steward;

/// How long taking back the ids may hold up an end.
const RELEASE_PATIENCE: Duration = Duration::from_secs(2);
/// And how much longer it may for each id.
const RELEASE_PER_ID: Duration = Duration::from_millis(1);

/// A group that is about to start.
pub(super) struct Life<P> {
    pub(super) config: Config,
    pub(super) server: Arc<Server>,
    pub(super) keep: Keep,
    pub(super) ids: Vec<Uuid>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) processor: Arc<P>,
    pub(super) workers: Handle,
    pub(super) shared: Arc<Shared>,
    pub(super) observer: Option<Observer>,
}

/// One that is about to run.
pub(super) struct Ready<P> {
    life: Life<P>,
    parts: Parts,
    sources: Sources,
}

impl<P: Processor> Life<P> {
    /// Connects. `None` when the start was given up meanwhile; then, and after an error, nothing is left behind.
    pub(super) async fn connect(mut self) -> Result<Option<Ready<P>>, Error> {
        let ids = std::mem::take(&mut self.ids);
        let mut parts = Parts::new(&self.config, &self.server, &self.keep, ids, &self.shared);
        let connected = tokio::select! {
            connected = parts.connect(&self.config) => Some(connected),
            () = self.shared.abort.cancelled() => None,
        };
        match connected {
            Some(Ok(sources)) => Ok(Some(Ready { life: self, parts, sources })),
            None => {
                leave(parts).await;
                Ok(None)
            }
            Some(Err(error)) => {
                leave(parts).await;
                Err(error)
            }
        }
    }
}

impl<P: Processor> Ready<P> {
    /// Runs to the end.
    pub(super) async fn run(self) -> Result<(), Error> {
        let Self { life, parts, sources } = self;
        let Life { config, consumers, processor, workers, shared, observer, .. } = life;
        let Parts {
            control,
            mut membership,
            count,
            first_lane,
            second_lane,
            rejected,
            spill,
            mut steward,
            ..
        } = parts;
        let spill = spill.zip(sources.drain).map(|(lane, source)| SpillWay { lane, source });
        let engine = Engine {
            config,
            consumers,
            processor,
            source: sources.input,
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
                error = hold_the_ids(&control, &mut membership) => error,
                error = look_after(&mut steward) => error,
            }
        };
        let end = engine.run(keeper).await;
        // The last commit is made: what is still pending is for others.
        dismiss(&mut steward).await;
        release(&mut membership, count).await;
        end
    }

    /// Ends before it has begun.
    pub(super) async fn leave(self) {
        leave(self.parts).await;
    }
}

async fn leave(mut parts: Parts) {
    dismiss(&mut parts.steward).await;
    if parts.registering {
        release(&mut parts.membership, parts.count).await;
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

/// Holds the ids by their lease, for as long as it is asked to. Comes back only when that is refused for good.
async fn hold_the_ids(control: &Control, membership: &mut Membership<Control>) -> Error {
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

async fn release(membership: &mut Membership<Control>, count: u32) {
    match timeout(RELEASE_PATIENCE + RELEASE_PER_ID * count, membership.release()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("the ids stay in their list until the lease is over: {error}"),
        Err(_) => tracing::warn!("the ids stay in their list until the lease is over: Redis does not answer"),
    }
}
