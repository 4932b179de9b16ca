//! The lifecycle of one group: connect, check, register, run, and leave.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::components::Components;
use super::engine::{Engine, Shared, Sources};
use crate::config::Config;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::processor::Processor;
use crate::redis::control::Control;
use crate::redis::fault::Fault;
use crate::redis::ids::Registration;
use crate::redis::server::Server;
use crate::sink::Keep;
use crate::source::{AnySource, Membership, SharedReplay};

/// How long the removal of the ids may delay an end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// Additional time for each id.
const RELEASE_PER_ID: Duration = Duration::from_millis(1);

/// A group that is about to start.
pub(super) struct Lifecycle<P> {
    pub(super) config: Config,
    pub(super) server: Arc<Server>,
    pub(super) keep: Keep,
    pub(super) ids: Vec<Uuid>,
    pub(super) consumers: Vec<Consumer>,
    pub(super) processor: Arc<P>,
    pub(super) workers: Handle,
    pub(super) shared: Arc<Shared>,
    /// State that the shards of a replay share.
    pub(super) replay: SharedReplay,
}

/// A group that is connected and about to run.
pub(super) struct Ready<P> {
    lifecycle: Lifecycle<P>,
    components: Components,
    sources: Sources<AnySource>,
}

impl<P: Processor> Lifecycle<P> {
    /// Connects. `None` when the start was aborted. In that case, and after an error, nothing is left behind in Redis.
    pub(super) async fn connect(mut self) -> Result<Option<Ready<P>>, Error> {
        let ids = std::mem::take(&mut self.ids);
        let mut components =
            Components::new(&self.config, &self.server, &self.keep, ids, &self.shared, &self.replay);
        let connected = tokio::select! {
            connected = components.connect(&self.config) => Some(connected),
            () = self.shared.abort.cancelled() => None,
        };
        match connected {
            Some(Ok(sources)) => Ok(Some(Ready { lifecycle: self, components, sources })),
            None => {
                leave(components).await;
                Ok(None)
            }
            Some(Err(error)) => {
                leave(components).await;
                Err(error)
            }
        }
    }
}

impl<P: Processor> Ready<P> {
    /// Runs to the end.
    pub(super) async fn run(self) -> Result<(), Error> {
        let Self { lifecycle, components, sources } = self;
        let Components { control, mut registration, count, lanes, mut membership, .. } = components;
        let status = lifecycle.shared.status.clone();
        let engine = Engine {
            config: lifecycle.config,
            consumers: lifecycle.consumers,
            processor: lifecycle.processor,
            sources,
            lanes,
            workers: lifecycle.workers,
            shared: lifecycle.shared,
        };
        let renewals = async {
            tokio::select! {
                error = renew_ids(&control, &mut registration) => error,
                error = renew_membership(&mut membership) => error,
            }
        };
        let end = engine.run(renewals).await;
        // The last commit was made: entries that are still pending are for other members.
        dismiss(&mut membership).await;
        release(&mut registration, count).await;
        status.ends();
        end
    }

    /// Leaves without having run.
    pub(super) async fn leave(self) {
        leave(self.components).await;
    }
}

async fn leave(mut components: Components) {
    dismiss(&mut components.membership).await;
    if components.registering {
        release(&mut components.registration, components.count).await;
    }
}

/// Maintains the membership until it is dropped. Returns only when the server refuses permanently.
async fn renew_membership(membership: &mut Option<Membership>) -> Error {
    match membership {
        Some(membership) => membership.run().await,
        None => pending().await,
    }
}

async fn dismiss(membership: &mut Option<Membership>) {
    let Some(membership) = membership else { return };
    let end = timeout(RELEASE_TIMEOUT, membership.leave()).await;
    let cause = match end {
        Ok(Ok(())) => return,
        Ok(Err(Fault::Transient(cause))) => cause,
        Ok(Err(Fault::Permanent(error))) => error.to_string(),
        Err(_) => "Redis does not answer".to_owned(),
    };
    tracing::warn!(
        event = "not_left",
        cause,
        "cannot leave the group of the stream: {cause}; the entries of this process stay pending until its lease lapses"
    );
}

/// Keeps the ids registered until it is dropped. Returns only when the server refuses permanently.
async fn renew_ids(control: &Control, registration: &mut Registration<Control>) -> Error {
    let forever = CancellationToken::new();
    loop {
        match registration.run(&forever).await {
            Ok(()) => pending().await,
            Err(error) => {
                if let Fault::Permanent(error) = control.ids_fault(error) {
                    return error;
                }
            }
        }
    }
}

async fn release(registration: &mut Registration<Control>, count: u32) {
    let cause = match timeout(RELEASE_TIMEOUT + RELEASE_PER_ID * count, registration.release()).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "Redis does not answer".to_owned(),
    };
    tracing::warn!(
        event = "ids_left",
        cause,
        "cannot remove the consumer ids: {cause}; they stay in their list until the lease lapses"
    );
}
