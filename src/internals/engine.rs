//! The engine without a network and a server.

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
use crate::group::engine::{Engine, Lanes, Shared, Sources};
use crate::hooks::Hooks;
use crate::intake::Intake;
use crate::processor::JsonProcessor;
use crate::sink::{Form, Lane, Records, Settled};
use crate::source::Source;
use crate::status::Status;

/// Messages that are made in advance and delivered repeatedly: 7 MiB of frames.
const PREPARED: u64 = 64 << 10;

/// Runs a group on a source and lanes in memory, with the default processor and an id in each message. Returns the time
/// from the first delivery to the last confirmed commit, as if network and server took no time.
///
/// Commits are confirmed at once, so the next commit has no time to fill: commits hold some tens of records, while
/// those of a group under load hold 256. So the fixed cost of a commit weighs more than in a real group.
///
/// As in a real group, the consumers run on the runtime of the caller, and everything else on its own thread.
///
/// # Panics
/// When a message was not processed.
pub async fn engine_limit(messages: u64, consumers: usize) -> Duration {
    let stopwatch = Arc::new(Stopwatch::default());
    let confirmed = stopwatch.clone();
    let hooks = Hooks { append: Some(Arc::new(move |_| confirmed.lap())), ..Hooks::default() };
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let shared = Shared::new(Config::default().buffer, stop, abort, None, hooks, Status::alone());
    // Ends the group when the caller drops this future.
    let _abort = shared.abort.clone().drop_guard();
    let source = Prepared {
        runs: runs((0..messages.min(PREPARED)).map(|_| payload())),
        messages,
        stopwatch: stopwatch.clone(),
    };
    let engine = Engine {
        config: Config {
            overflow: Overflow::Wait,
            // The group stops when everything is delivered, so the stop may take any time.
            drain_timeout: Duration::from_secs(3600),
            ..Config::default()
        },
        consumers: (0..consumers).map(consumer).collect(),
        processor: Arc::new(JsonProcessor::new()),
        sources: Sources { input: source, spill: None },
        lanes: Lanes {
            first: Encoder::new(),
            second: (consumers > 1).then(Encoder::new),
            rejected: Encoder::new(),
            spill: None,
        },
        workers: Handle::current(),
        shared: shared.clone(),
    };

    let (send_ended, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        drop(send_ended.send(runtime.block_on(engine.run(pending()))));
    });
    ended.await.expect("an engine that does not panic").expect("an engine that does not fail");
    let ledger = shared.ledger();
    assert_eq!((ledger.received, ledger.processed), (messages, messages), "{ledger}");
    stopwatch.total()
}

/// Measures the time from the start to the last lap.
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

/// A source whose data was read and scanned in advance.
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
            // The spans are copied for each delivery, because the scanner allocates them too. The bytes are shared.
            let spans = spans[..spans.len().min(left)].to_vec();
            left -= spans.len();
            intake.receive(spans.len() as u64);
            intake.accept(&channel, bytes.clone(), spans).await;
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
        // A real lane waits for its answer here, while the other tasks of this thread run.
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
