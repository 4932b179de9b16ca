//! A process of the group, reduced to its ids.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::server::{Connector, Server};
use crate::redis::ids::{About, IdsError, Names, Registration};
use crate::slot::beside;
use crate::status::Status;

/// Short for tests, and long enough for a busy machine.
pub(super) const LEASE: Duration = Duration::from_millis(900);

/// A running process. Dropping it stops nothing.
pub(super) struct Process {
    pub(super) ids: Vec<String>,
    stop: CancellationToken,
    renewals: JoinHandle<(Registration<Connector>, Result<(), IdsError>)>,
}

impl Process {
    /// Registers this many consumers, and keeps renewing.
    pub(super) async fn start(server: &Server, consumers: usize) -> Self {
        let mut registration = registration(server.client(), consumers, Uuid::new_v4());
        // Retries as a start does: a busy machine may be silent for longer than a third of so short a lease.
        let deadline = Instant::now() + 15 * LEASE;
        while let Err(error) = registration.register().await {
            assert!(!error.is_fatal() && Instant::now() < deadline, "{error}");
        }
        Self::run(registration)
    }

    pub(super) fn run(mut registration: Registration<Connector>) -> Self {
        let ids = texts(&registration);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let renewals = tokio::spawn(async move {
            let end = registration.run(&stopped).await;
            (registration, end)
        });
        Self { ids, stop, renewals }
    }

    /// Stops as on SIGTERM.
    pub(super) async fn stop(self) -> Registration<Connector> {
        self.stop.cancel();
        let (mut registration, end) = self.renewals.await.unwrap();
        end.unwrap();
        registration.release().await.unwrap();
        registration
    }

    /// Ends as on `kill -9`.
    pub(super) async fn kill(self) {
        self.renewals.abort();
        self.renewals.await.unwrap_err();
    }

    /// The result after renewing has ended without a stop.
    pub(super) async fn end(self) -> Result<(), IdsError> {
        self.renewals.await.unwrap().1
    }
}

/// A process before it registers, with its own channel and output, and two lanes.
pub(super) fn registration(client: Connector, consumers: usize, process: Uuid) -> Registration<Connector> {
    let ids = (0..consumers).map(|_| Uuid::new_v4()).collect();
    Registration::new(client, Names::new("consumer:ids"), process, ids, about(process), Status::alone())
}

pub(super) fn about(process: Uuid) -> About {
    let output = format!("processed:{process}");
    About {
        source: "pubsub".into(),
        input: format!("published:{process}"),
        lanes: (0..2).map(|lane| beside(&output, &format!("lane:{process}:{lane}"))).collect(),
        output,
        host: None,
        pid: 7,
        started: 0,
        lease: LEASE,
    }
}

pub(super) fn texts(registration: &Registration<Connector>) -> Vec<String> {
    registration.ids.iter().map(Uuid::to_string).collect()
}

/// Waits until the list is exactly `expected`. Fails after 15 leases.
pub(super) async fn wait_for_ids(server: &Server, expected: &[String]) {
    let deadline = Instant::now() + 15 * LEASE;
    loop {
        let ids = server.ids().await;
        if ids == expected {
            return;
        }
        assert!(Instant::now() < deadline, "ids are {ids:?}, expected {expected:?}");
        sleep(LEASE / 50).await;
    }
}

/// Waits until nothing is left of dead processes: their ids go first, then their lanes, then their leases.
pub(super) async fn wait_for_leases(server: &Server, expected: usize) {
    let deadline = Instant::now() + 15 * LEASE;
    while server.run::<usize>("ZCARD {consumer:ids}:leases").await != expected {
        assert!(Instant::now() < deadline, "not {expected} leases");
        sleep(LEASE / 50).await;
    }
}

/// Checks for `duration` that all of `expected` stay in the list.
pub(super) async fn watch_ids_stay(server: &Server, expected: &[String], duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let ids = server.ids().await;
        assert!(expected.iter().all(|id| ids.contains(id)), "ids are {ids:?}, expected {expected:?}");
        sleep(LEASE / 50).await;
    }
}
