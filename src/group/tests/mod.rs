//! Tests of the engine on a paused clock, with a source and lanes in memory.

mod counting;
mod failing;
mod stopping;

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::engine::{Engine, Lanes, Shared, Sources};
use crate::config::Config;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::hooks::Hooks;
use crate::intake::Limit;
use crate::ledger::Ledger;
use crate::message::Message;
use crate::processor::{Failure, Outcome, Processor};
use crate::record::Record;
use crate::sink::memory::Memory as Lane;
use crate::source::memory::{Memory as Source, Publisher};
use crate::status::Status;

/// A running group without a server.
struct Group {
    publisher: Publisher,
    shared: Arc<Shared>,
    end: JoinHandle<Result<(), Error>>,
}

/// The setup of a group.
struct Setup {
    config: Config,
    lane: Lane,
    rejected: Lane,
    /// How long the source takes to unsubscribe.
    farewell: Duration,
    /// When the lease is refused permanently.
    renewals_fail_after: Option<Duration>,
    /// The runtime of the consumers, if it is not the test's own.
    workers: Option<Handle>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: Config { consumers: 1, ..Config::default() },
            lane: Lane::new(),
            rejected: Lane::new(),
            farewell: Duration::ZERO,
            renewals_fail_after: None,
            workers: None,
        }
    }
}

impl Setup {
    fn start(&self, processor: impl Processor) -> Group {
        let (publisher, source) = Source::new(self.farewell);
        let limit = self.config.max_messages.map(|most| Arc::new(Limit::new(most)));
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let (buffer, status) = (self.config.buffer, Status::alone());
        let shared = Shared::new(buffer, stop, abort, limit, Hooks::default(), status);
        let engine = Engine {
            config: self.config.clone(),
            consumers: (0..self.config.consumers).map(|at| Consumer::new(None, at, Uuid::new_v4())).collect(),
            processor: Arc::new(processor),
            sources: Sources { input: source, spill: None },
            lanes: Lanes {
                first: self.lane.clone(),
                second: None,
                rejected: self.rejected.clone(),
                spill: None,
            },
            workers: self.workers.clone().unwrap_or_else(Handle::current),
            shared: shared.clone(),
        };
        let renewals_fail_after = self.renewals_fail_after;
        let renewals = async move {
            match renewals_fail_after {
                Some(after) => sleep(after).await,
                None => pending().await,
            }
            broken("the lease")
        };
        Group { publisher, shared, end: tokio::spawn(engine.run(renewals)) }
    }
}

impl Group {
    fn ledger(&self) -> Ledger {
        self.shared.counts.read()
    }

    /// Counts of received, processed, rejected, dropped messages, and those in flight.
    fn counts(&self) -> (u64, u64, u64, u64, u64) {
        let ledger = self.ledger();
        (ledger.received, ledger.processed, ledger.rejected, ledger.dropped, ledger.in_flight())
    }

    /// Waits until the group ends by itself.
    async fn end(self) -> (Result<(), Error>, Ledger) {
        let end = self.end.await.unwrap();
        (end, self.shared.counts.close())
    }

    async fn stop(self) -> (Result<(), Error>, Ledger) {
        self.shared.stop.cancel();
        self.end().await
    }
}

fn broken(what: &str) -> Error {
    Error::Config { option: "test", problem: format!("{what} is broken") }
}

/// Lets everything run that does not wait for a timer.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Makes one record from each message, after this long.
fn copy(takes: Duration) -> impl Processor {
    move |consumer: Consumer, message: Message| async move {
        sleep(takes).await;
        let record = Record::new().bytes("p", message.payload()).field("by", consumer.index().to_string());
        Ok::<Record, Failure>(record)
    }
}

/// Does what the payload says: `keep`, `skip`, `reject`, or `again`.
fn obedient() -> impl Processor {
    |_, message: Message| async move {
        match message.payload() {
            b"skip" => Ok(Outcome::Skip),
            b"reject" => Err(Failure::reject("told to")),
            b"again" => Err(Failure::try_again("told to")),
            payload => Ok(Outcome::Record(Record::new().bytes("p", payload))),
        }
    }
}
