//! The engine with nothing around it that could slow it down.

use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CHANNEL, Encoder, Run, consumer, payload, runs};
use crate::config::{Config, Overflow};
use crate::error::Error;
use crate::group::engine::{Engine, Shared};
use crate::hooks::Hooks;
use crate::intake::Intake;
use crate::processor::JsonProcessor;
use crate::sink::{Form, Lane, Records, Settled};
use crate::source::Source;
use crate::status::Status;

/// Messages that are made beforehand, and delivered again and again: 7 MiB of frames.
const PREPARED: u64 = 64 << 10;

/// Runs a group on a source and lanes in memory, with the default processor and an id in each message. How long
/// it took from the first delivery to the last confirmed commit, with a network and a server that take no time.
///
/// Commits are confirmed at once here, so the next one has no time to fill: they hold some tens of records, where
/// those of a group under load hold 256. What each commit costs by itself weighs more than it does there.
///
/// As with a real group, the consumers run on the runtime of the caller, and all else on a thread of its own.
///
/// # Panics
/// When not every message was processed.
pub async fn engine_limit(messages: u64, consumers: usize) -> Duration {
    let stopwatch = Arc::new(Stopwatch::default());
    let confirmed = stopwatch.clone();
    let hooks = Hooks { append: Some(Arc::new(move |_| confirmed.lap())), ..Hooks::default() };
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let shared = Shared::new(Config::default().buffer, stop, abort, None, hooks, Status::alone());
    // Whoever does not wait any more ends it.
    let _abort = shared.abort.clone().drop_guard();
    let engine = Engine {
        config: Config {
            overflow: Overflow::Wait,
            // The group stops when everything is delivered, and a stop may take what it takes.
            drain_timeout: Duration::from_secs(3600),
            ..Config::default()
        },
        consumers: (0..consumers).map(consumer).collect(),
        processor: JsonProcessor::new(),
        source: Prepared {
            runs: runs((0..messages.min(PREPARED)).map(|_| payload())),
            messages,
            stopwatch: stopwatch.clone(),
        },
        first_lane: Encoder::new(),
        second_lane: (consumers > 1).then(Encoder::new),
        rejected: Encoder::new(),
        spill: None,
        workers: Handle::current(),
        shared: shared.clone(),
    };

    let (tell_ended, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        drop(tell_ended.send(runtime.block_on(engine.run(pending()))));
    });
    ended.await.expect("an engine that does not panic").expect("an engine that does not fail");
    let ledger = shared.ledger();
    assert_eq!((ledger.received, ledger.processed), (messages, messages), "{ledger}");
    stopwatch.total()
}

/// The time from a start to the last of several laps.
#[derive(Default)]
struct Stopwatch {
    started: OnceLock<Instant>,
    nanos: AtomicU64,
}

impl Stopwatch {
    fn start(&self) {
        self.started.get_or_init(Instant::now);
    }

    fn lap(&self) {
        let elapsed = self.started.get().map(Instant::elapsed).unwrap_or_default();
        self.nanos.store(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn total(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Acquire))
    }
}

/// A source that has been read and scanned before.
struct Prepared {
    runs: Vec<Run>,
    messages: u64,
    stopwatch: Arc<Stopwatch>,
}

impl Source for Prepared {
    async fn run(self, intake: Intake, _: CancellationToken) -> Result<(), Error> {
        let channel = CHANNEL.into();
        let mut left = usize::try_from(self.messages).unwrap_or(usize::MAX);
        self.stopwatch.start();
        for Run { bytes, spans } in self.runs.iter().cycle() {
            // The list is made for each delivery, as the scanner makes it. The bytes are shared.
            let spans = spans[..spans.len().min(left)].to_vec();
            left -= spans.len();
            intake.receive(spans.len() as u64);
            intake.keep(&channel, bytes.clone(), spans).await;
            if left == 0 {
                break;
            }
            // The lanes share this thread.
            yield_now().await;
        }
        Ok(())
    }
}

impl Lane for Encoder {
    fn form(&self) -> Form {
        self.lane.form()
    }

    async fn commit(&mut self, records: &Records, _: Option<&Records>) -> Result<Settled, Error> {
        self.lane.begin(records);
        // Here a lane waits for its answer, and the others on this thread go on.
        yield_now().await;
        Ok(Settled::Committed)
    }

    async fn close(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_message_passes_one_consumer_or_four() {
        for consumers in [1, 4] {
            assert!(engine_limit(10_000, consumers).await > Duration::ZERO);
        }
    }
}
