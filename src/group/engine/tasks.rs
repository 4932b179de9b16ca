//! The running tasks of a group: how each is started, watched and ended.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use super::{Failure, Shared};
use crate::appended::Appended;
use crate::appender::{Appender, Turn};
use crate::config::{Config, Overflow};
use crate::consumer::Consumer;
use crate::error::Error;
use crate::group::outbox::Outbox;
use crate::group::retries::{Delays, Retries};
use crate::group::worker::{Context, Worker};
use crate::intake::Intake;
use crate::processor::Processor;
use crate::queue::Queue;
use crate::sink::{Form, Lane, Records, Settled};
use crate::source::Source;
use crate::spill::Spill;
use crate::text::{Lasted, seconds};

/// The running tasks of a group, and the queues between them. Dropping it ends all tasks at once.
pub(super) struct Tasks {
    config: Config,
    shared: Arc<Shared>,
    /// Messages on their way to the consumers.
    queue: Arc<Queue>,
    /// Records on their way to the output.
    output: Arc<Appender>,
    /// Records on their way to the stream of rejected messages.
    rejections: Arc<Appender>,
    /// Messages on their way into the spill, if there is one.
    spilling: Option<Arc<Appender>>,
    /// The source of the input.
    source: JoinSet<Result<(), Error>>,
    /// The source that reads the spill back, if there is one.
    spill_source: JoinSet<Result<(), Error>>,
    lanes: JoinSet<Result<(), Error>>,
    workers: JoinSet<()>,
    /// They have nothing to finish, and end last.
    helpers: JoinSet<()>,
    failure: Failure,
}

impl Tasks {
    /// Nothing is started yet. `output` and `rejected` are the forms of the records for these lanes.
    pub(super) fn new(config: Config, shared: Arc<Shared>, output: Form, rejected: Form) -> Self {
        let queue = Queue::new();
        // The engine runs once, so the cell is empty.
        let _ = shared.queue.set(Arc::downgrade(&queue));
        Self {
            config,
            shared,
            queue,
            output: Arc::new(Appender::new(output)),
            rejections: Arc::new(Appender::new(rejected)),
            spilling: None,
            source: JoinSet::new(),
            spill_source: JoinSet::new(),
            lanes: JoinSet::new(),
            workers: JoinSet::new(),
            helpers: JoinSet::new(),
            failure: Failure::default(),
        }
    }

    /// Starts what brings messages back for their next attempt, and the task that logs delayed lines.
    pub(super) fn start_helpers(&mut self) -> Arc<Retries> {
        let delays = Delays { first: self.config.retry_delay, longest: self.config.retry_max_delay };
        let (retries, task) = Retries::new(self.queue.clone(), delays, self.shared.stop.clone());
        self.helpers.spawn(task.run());
        let events = self.shared.events.clone();
        self.helpers.spawn(async move { events.log_delayed().await });
        Arc::new(retries)
    }

    pub(super) fn start_output<L: Lane>(&mut self, first: L, second: Option<L>) {
        let lanes = [(Turn::First, Some(first)), (Turn::Second, second)];
        for (turn, lane) in lanes.into_iter().filter_map(|(turn, lane)| Some((turn, lane?))) {
            let (output, shared) = (self.output.clone(), self.shared.clone());
            self.lanes.spawn(async move {
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
    }

    pub(super) fn start_rejected(&mut self, lane: impl Lane) {
        let (rejections, events) = (self.rejections.clone(), self.shared.events.clone());
        let stream = self.config.rejected.clone();
        self.lanes.spawn(async move {
            let settle = |records: &Records, settled| match settled {
                Settled::Committed => events.rejected(records, &stream),
                Settled::Fenced => events.counts.fence(records.messages()),
            };
            rejections.run(lane, Turn::First, settle).await
        });
    }

    /// Starts both directions: into the spill and back.
    pub(super) fn start_spill(&mut self, lane: impl Lane, source: impl Source) {
        let appender = Arc::new(Appender::new(lane.form()));
        let (spilling, events) = (appender.clone(), self.shared.events.clone());
        let stream: Arc<str> = self.config.spill().unwrap_or_default().into();
        self.lanes.spawn(async move {
            let settle = |records: &Records, _| events.spilled(records.messages(), &stream);
            spilling.run(lane, Turn::First, settle).await
        });
        self.spilling = Some(appender);
        let intake = Intake::new(
            self.queue.clone(),
            self.shared.buffer.clone(),
            self.shared.events.clone(),
            Overflow::Wait,
            None,
            None,
            self.shared.stop.clone(),
        );
        self.spill_source.spawn(source.run(intake, self.shared.stop.clone()));
    }

    /// Starts the consumers on `runtime`.
    pub(super) fn start_workers<P: Processor>(
        &mut self,
        consumers: Vec<Consumer>,
        processor: &Arc<P>,
        retries: &Arc<Retries>,
        runtime: &Handle,
    ) {
        for consumer in consumers {
            let context = Context {
                receiver: self.queue.receiver(),
                output: Outbox::new(&self.output),
                rejected: Outbox::new(&self.rejections),
                retries: retries.clone(),
                events: self.shared.events.clone(),
                max_payload: self.config.max_payload,
                max_attempts: self.config.max_attempts,
                timeout: self.config.processor_timeout,
                with_source_id: self.config.stream.with_source_id,
            };
            let worker = Worker { consumer, processor: processor.clone(), context };
            self.workers.spawn_on(worker.run().in_current_span(), runtime);
        }
    }

    /// Starts the source of the input.
    pub(super) fn start_source(&mut self, source: impl Source) {
        let Shared { buffer, events, level, limit, stop, .. } = &*self.shared;
        let spill = self.spilling.clone();
        let intake = Intake::new(
            self.queue.clone(),
            buffer.clone(),
            events.clone(),
            self.config.overflow,
            spill.map(|appender| Spill::new(appender, level.clone(), self.config.spill_max)),
            limit.clone(),
            stop.clone(),
        );
        self.source.spawn(source.run(intake, stop.clone()));
    }

    /// Waits for the request to stop, or for the end of a task: it has failed, or the source has read all that it is to
    /// read. Returns the renewals, unless they are what has failed.
    pub(super) async fn watch<'a, K: Future<Output = Error>>(
        &mut self,
        mut renewals: Pin<&'a mut K>,
    ) -> Option<Pin<&'a mut K>> {
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            () = self.shared.abort.cancelled() => {}
            Some(end) = self.source.join_next() => self.failure.note(end),
            Some(end) = self.spill_source.join_next() => self.failure.note(end),
            Some(end) = self.lanes.join_next() => self.failure.note(end),
            Some(end) = self.workers.join_next() => self.failure.note(end.map(Ok)),
            error = &mut renewals => {
                self.failure.note(Ok(Err(error)));
                return None;
            }
        }
        Some(renewals)
    }

    /// Finishes and commits the received messages, within the drain timeout.
    ///
    /// The ids stay registered meanwhile. A process that lost its ids can still finish its messages.
    pub(super) async fn drain(&mut self, renewals: Option<Pin<&mut impl Future<Output = Error>>>) {
        let (shared, limit) = (self.shared.clone(), self.config.drain_timeout);
        let mut lapse = None;
        let renewing = async {
            if let Some(renewals) = renewals {
                lapse = Some(renewals.await);
            }
            pending::<()>().await;
        };
        tokio::select! {
            drained = timeout(limit, self.finish()) => if drained.is_err() {
                tracing::warn!(
                    event = "drain_timeout",
                    count = shared.counts.read().in_flight(),
                    seconds = seconds(limit),
                    "the drain timeout of {} has passed; abandoning the remaining messages",
                    Lasted(limit)
                );
            },
            () = renewing => {}
            () = shared.abort.cancelled() => {}
        }
        if let Some(error) = lapse {
            self.failure.note(Ok(Err(error)));
        }
    }

    /// Ends the tasks one after another, along the way of a message.
    async fn finish(&mut self) {
        for sources in [&mut self.source, &mut self.spill_source] {
            while let Some(end) = sources.join_next().await {
                self.failure.note(end);
            }
        }
        // Messages in the spill stay there for the next process.
        if let Some(spilling) = &self.spilling {
            spilling.close();
        }
        self.queue.close();
        while let Some(end) = self.workers.join_next().await {
            self.failure.note(end.map(Ok));
        }
        for appender in [&self.output, &self.rejections] {
            appender.close();
        }
        while let Some(end) = self.lanes.join_next().await {
            self.failure.note(end);
        }
    }

    /// Ends all tasks that are left, and counts what they leave behind. `stopping`: when the stop began.
    pub(super) async fn close(mut self, stopping: Instant) -> Result<(), Error> {
        let shared = &self.shared;
        if !self.source.is_empty() && self.config.source.is_channel() {
            let cause = "the group was ended before the server had confirmed that it left".to_owned();
            let open = shared.counts.open_gap().unwrap_or_default();
            shared.events.gap(&self.config.input, cause, open.max(stopping.elapsed()));
        }
        self.source.shutdown().await;
        self.spill_source.shutdown().await;
        self.lanes.shutdown().await;
        // Not awaited: a processor that blocks its thread cannot be stopped from here.
        self.workers.abort_all();
        self.workers.detach_all();
        shared.events.log_rest();
        shared.ended.store(true, Ordering::Release);
        let abandoned = shared.counts.close().abandoned;
        if abandoned > 0 {
            let were = if abandoned == 1 { "message was" } else { "messages were" };
            tracing::warn!(event = "abandoned", count = abandoned, "{abandoned} received {were} abandoned");
        }
        self.failure.0.map_or(Ok(()), Err)
    }
}
