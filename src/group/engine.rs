//! The engine: starts the tasks of a group, watches them, and ends them in the right order.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::outbox::Outbox;
use super::retries::{Delays, Retries};
use super::worker::{Context, Worker};
use crate::appended::Appended;
use crate::appender::{Appender, Turn};
use crate::backlog::Backlog;
use crate::buffer::Buffer;
use crate::config::{Config, Overflow};
use crate::consumer::Consumer;
use crate::error::Error;
use crate::events::Events;
use crate::hooks::Hooks;
use crate::intake::{Intake, Limit};
use crate::ledger::{Counts, Ledger};
use crate::processor::Processor;
use crate::queue::Queue;
use crate::rate::Rate;
use crate::sink::{Lane, Records, Settled};
use crate::source::Source;
use crate::spill::{Level, Spill};
use crate::status::Status;
use crate::text::{Lasted, seconds};

/// State that the engine shares with the user's handle.
pub(crate) struct Shared {
    pub(crate) counts: Arc<Counts>,
    pub(crate) events: Arc<Events>,
    pub(crate) status: Status,
    pub(crate) buffer: Arc<Buffer>,
    /// To read the queue's figures while the engine runs.
    queue: OnceLock<Weak<Queue>>,
    pub(crate) rate: Rate,
    pub(crate) began: Instant,
    /// Cancelled to stop: unsubscribe, finish and commit the received messages. Shared by all shards, so when one
    /// stops, all stop.
    pub(crate) stop: CancellationToken,
    /// Cancelled to end at once.
    pub(crate) abort: CancellationToken,
    /// Whether the group has ended. Messages in flight at that point are abandoned.
    pub(crate) ended: AtomicBool,
    /// How far the consumer group of the stream or of the spill is behind. `None` until the first check.
    pub(crate) backlog: Arc<Mutex<Option<Backlog>>>,
    /// The limit of received messages, for all shards together.
    pub(crate) limit: Option<Arc<Limit>>,
    /// How full the spill is.
    pub(crate) level: Arc<Level>,
}

/// The lane that writes the spill and the source that reads it back.
pub(crate) struct SpillWay<S, L> {
    pub(crate) lane: L,
    pub(crate) source: S,
}

/// The connected parts of a group.
pub(crate) struct Engine<P, S, L> {
    pub(crate) config: Config,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) processor: P,
    pub(crate) source: S,
    /// The first lane of the output. If it is the only one, the order of the messages is kept.
    pub(crate) first_lane: L,
    /// The second lane, if there is more than one consumer.
    pub(crate) second_lane: Option<L>,
    /// The lane of rejected messages.
    pub(crate) rejected: L,
    /// Where messages go that find the buffer full, with [`crate::Overflow::Spill`].
    pub(crate) spill: Option<SpillWay<S, L>>,
    /// The runtime that the consumers run on. Everything else runs on the engine's thread, so a processor that blocks
    /// its thread delays neither reading nor committing.
    pub(crate) workers: Handle,
    pub(crate) shared: Arc<Shared>,
}

impl Shared {
    /// Shared state for a group with a buffer of this many bytes.
    pub(crate) fn new(
        buffer: usize,
        stop: CancellationToken,
        abort: CancellationToken,
        limit: Option<Arc<Limit>>,
        hooks: Hooks,
        status: Status,
    ) -> Arc<Self> {
        let events = Events::new(hooks);
        Arc::new(Self {
            counts: events.counts.clone(),
            events,
            status,
            buffer: Buffer::new(buffer),
            queue: OnceLock::new(),
            rate: Rate::new(),
            began: Instant::now(),
            stop,
            abort,
            ended: AtomicBool::new(false),
            backlog: Arc::default(),
            limit,
            level: Arc::default(),
        })
    }

    /// The counts of all messages so far.
    pub(crate) fn ledger(&self) -> Ledger {
        if self.ended.load(Ordering::Acquire) { self.counts.close() } else { self.counts.read() }
    }

    /// Messages that wait for their next attempt.
    pub(crate) fn retries_waiting(&self) -> usize {
        self.queue.get().and_then(Weak::upgrade).map_or(0, |queue| queue.retries_waiting())
    }

    /// Milliseconds since the start: the clock of the rate counter.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl<P: Processor, S: Source, L: Lane> Engine<P, S, L> {
    /// Runs the group until it is told to stop or fails permanently. `keeper` runs beside it and returns only with such
    /// a failure.
    ///
    /// The order of a stop: the source reads up to the server's confirmation of the unsubscribe; the queue closes;
    /// consumers finish the queue; the appenders close; the lanes commit what the appenders hold. The drain timeout
    /// limits all of it.
    pub(crate) async fn run(self, keeper: impl Future<Output = Error>) -> Result<(), Error> {
        let Self {
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
        } = self;
        let queue = Queue::new();
        // `run` is called once, so the cell is empty.
        let _ = shared.queue.set(Arc::downgrade(&queue));
        let buffer = shared.buffer.clone();
        let delays = Delays { first: config.retry_delay, longest: config.retry_max_delay };
        let (retries, retry_task) = Retries::new(queue.clone(), delays, shared.stop.clone());
        let retries = Arc::new(retries);
        let processor = Arc::new(processor);
        let output = Arc::new(Appender::new(first_lane.form()));
        let rejections = Arc::new(Appender::new(rejected.form()));

        let mut helpers = JoinSet::new();
        helpers.spawn(retry_task.run());
        let events = shared.events.clone();
        helpers.spawn(async move { events.tell_the_rest().await });

        let mut lane_tasks = JoinSet::new();
        let lanes = [(Turn::First, Some(first_lane)), (Turn::Second, second_lane)];
        for (turn, lane) in lanes.into_iter().filter_map(|(turn, lane)| Some((turn, lane?))) {
            let (output, shared) = (output.clone(), shared.clone());
            lane_tasks.spawn(async move {
                let settle = |records: &Records, settled| {
                    if settled == Settled::Fenced {
                        return shared.counts.fence(records.messages());
                    }
                    shared.counts.process(records.messages(), records.skipped());
                    shared.rate.add(records.messages(), shared.now());
                    if records.has_entries() {
                        shared.events.hooks.on_append(&Appended::new(records));
                    }
                };
                output.run(lane, turn, settle).await
            });
        }
        let (appender, events, stream) = (rejections.clone(), shared.events.clone(), config.rejected.clone());
        lane_tasks.spawn(async move {
            let settle = |records: &Records, settled| match settled {
                Settled::Committed => events.rejected(records, &stream),
                Settled::Fenced => events.counts.fence(records.messages()),
            };
            appender.run(rejected, Turn::First, settle).await
        });

        let (mut source_tasks, mut drain_tasks) = (JoinSet::new(), JoinSet::new());
        let mut into_spill = None;
        if let Some(SpillWay { lane, source }) = spill {
            let appender = Arc::new(Appender::new(lane.form()));
            let (spilling, events) = (appender.clone(), shared.events.clone());
            let stream: Arc<str> = config.spill().unwrap_or_default().into();
            lane_tasks.spawn(async move {
                let settle = |records: &Records, _| events.spilled(records.messages(), &stream);
                spilling.run(lane, Turn::First, settle).await
            });
            let draining = Intake::new(
                queue.clone(),
                buffer.clone(),
                shared.events.clone(),
                Overflow::Wait,
                None,
                None,
                shared.stop.clone(),
            );
            drain_tasks.spawn(source.run(draining, shared.stop.clone()));
            into_spill = Some(appender);
        }

        let mut worker_tasks = JoinSet::new();
        for consumer in consumers {
            let context = Context {
                receiver: queue.receiver(),
                output: Outbox::new(&output),
                rejected: Outbox::new(&rejections),
                retries: retries.clone(),
                events: shared.events.clone(),
                max_payload: config.max_payload,
                max_attempts: config.max_attempts,
                timeout: config.processor_timeout,
                with_source_id: config.stream.with_source_id,
            };
            let worker = Worker { consumer, processor: processor.clone(), context };
            worker_tasks.spawn_on(worker.run().in_current_span(), &workers);
        }

        let intake = Intake::new(
            queue.clone(),
            buffer,
            shared.events.clone(),
            config.overflow,
            into_spill.clone().map(|appender| Spill::new(appender, shared.level.clone(), config.spill_max)),
            shared.limit.clone(),
            shared.stop.clone(),
        );
        source_tasks.spawn(source.run(intake, shared.stop.clone()));

        let mut failure = Failure::default();
        let mut keeper = pin!(keeper);
        let mut keeps = true;

        // Until a stop is requested, or a task ends by itself, which happens only in a failure.
        tokio::select! {
            () = shared.stop.cancelled() => {}
            () = shared.abort.cancelled() => {}
            Some(end) = source_tasks.join_next() => failure.note(end),
            Some(end) = drain_tasks.join_next() => failure.note(end),
            Some(end) = lane_tasks.join_next() => failure.note(end),
            Some(end) = worker_tasks.join_next() => failure.note(end.map(Ok)),
            error = &mut keeper => { keeps = false; failure.note(Ok(Err(error))) }
        }
        shared.status.drains();
        shared.stop.cancel();
        let stopping = Instant::now();

        let drain = async {
            for tasks in [&mut source_tasks, &mut drain_tasks] {
                while let Some(end) = tasks.join_next().await {
                    failure.note(end);
                }
            }
            // Messages in the spill stay there for the next process.
            if let Some(spill) = &into_spill {
                spill.close();
            }
            queue.close();
            while let Some(end) = worker_tasks.join_next().await {
                failure.note(end.map(Ok));
            }
            for appender in [&output, &rejections] {
                appender.close();
            }
            while let Some(end) = lane_tasks.join_next().await {
                failure.note(end);
            }
        };
        // The ids stay registered while the last messages are processed. A process that lost its ids can still finish
        // these messages.
        let mut lapse = None;
        let keep = async {
            if keeps {
                lapse = Some(keeper.await);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            drained = timeout(config.drain_timeout, drain) => if drained.is_err() {
                let (limit, left) = (config.drain_timeout, shared.counts.read().in_flight());
                tracing::warn!(
                    event = "drain_timeout",
                    count = left,
                    seconds = seconds(limit),
                    "the drain timeout of {} has passed; abandoning the remaining messages",
                    Lasted(limit)
                );
            },
            () = keep => {}
            () = shared.abort.cancelled() => {}
        }
        if let Some(error) = lapse {
            failure.note(Ok(Err(error)));
        }
        if !source_tasks.is_empty() && config.source.is_channel() {
            let cause = "the group was ended before the server had confirmed that it left".to_owned();
            let open = shared.counts.open_gap().unwrap_or_default();
            shared.events.gap(&config.input, cause, open.max(stopping.elapsed()));
        }
        source_tasks.shutdown().await;
        drain_tasks.shutdown().await;
        lane_tasks.shutdown().await;
        // Not awaited: a processor that blocks its thread cannot be stopped from here.
        worker_tasks.abort_all();
        worker_tasks.detach_all();
        shared.events.tell_now();
        shared.ended.store(true, Ordering::Release);
        let abandoned = shared.counts.close().abandoned;
        if abandoned > 0 {
            let were = if abandoned == 1 { "message was" } else { "messages were" };
            tracing::warn!(event = "abandoned", count = abandoned, "{abandoned} received {were} abandoned");
        }
        failure.0.map_or(Ok(()), Err)
    }
}

/// The first error, replaced by a later one only if the later one asks the user to act and the first does not.
#[derive(Default)]
pub(super) struct Failure(pub(super) Option<Error>);

impl Failure {
    pub(super) fn note(&mut self, end: Result<Result<(), Error>, JoinError>) {
        let error = match end {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(end) if end.is_cancelled() => Error::System {
                what: "the runtime that the consumers run on was shut down before the group",
                source: std::io::Error::other(end),
            },
            Err(panic) => Error::System {
                what: "a task of the group failed because of a bug in redis-consumer-group; please report it",
                source: std::io::Error::other(panic),
            },
        };
        tracing::debug!("a task of the group failed: {error}");
        if self.0.as_ref().is_none_or(|first| !asks_for_action(first) && asks_for_action(&error)) {
            self.0 = Some(error);
        }
    }
}

fn asks_for_action(error: &Error) -> bool {
    matches!(
        error,
        Error::Config { .. } | Error::Refused { .. } | Error::Ids { .. } | Error::WrongType { .. }
    )
}
