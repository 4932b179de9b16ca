//! The engine: starts the tasks of a group, watches them, and ends them in the right order.

mod failure;
mod shared;
mod tasks;

use std::pin::pin;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::Instant;

pub(super) use self::failure::Failure;
pub(crate) use self::shared::Shared;
use self::tasks::Tasks;
use crate::config::Config;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::processor::Processor;
use crate::sink::Lane;
use crate::source::Source;

/// The connected parts of a group.
pub(crate) struct Engine<P, S, L> {
    pub(crate) config: Config,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) processor: Arc<P>,
    pub(crate) sources: Sources<S>,
    pub(crate) lanes: Lanes<L>,
    /// The runtime that the consumers run on. Everything else runs on the engine's thread, so a processor that blocks
    /// its thread delays neither reading nor committing.
    pub(crate) workers: Handle,
    pub(crate) shared: Arc<Shared>,
}

/// Where messages come from.
pub(crate) struct Sources<S> {
    pub(crate) input: S,
    /// Reads the spill back, if there is one.
    pub(crate) spill: Option<S>,
}

/// Where records go.
pub(crate) struct Lanes<L> {
    /// The first lane of the output. If it is the only one, the order of the messages is kept.
    pub(crate) first: L,
    /// The second lane of the output, if there is more than one consumer: while the first one waits for its
    /// confirmation, the server executes a commit of this one.
    pub(crate) second: Option<L>,
    /// The lane of rejected messages.
    pub(crate) rejected: L,
    /// The lane of messages that find the buffer full, with [`crate::Overflow::Spill`].
    pub(crate) spill: Option<L>,
}

impl<L> Lanes<L> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &L> {
        [Some(&self.first), self.second.as_ref(), Some(&self.rejected), self.spill.as_ref()]
            .into_iter()
            .flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut L> {
        [Some(&mut self.first), self.second.as_mut(), Some(&mut self.rejected), self.spill.as_mut()]
            .into_iter()
            .flatten()
    }
}

impl<P: Processor, S: Source, L: Lane> Engine<P, S, L> {
    /// Runs the group until it is told to stop or fails permanently. `renewals` run beside it and return only with such
    /// a failure.
    ///
    /// The order of a stop: the source reads up to the server's confirmation of the unsubscribe; the queue closes;
    /// consumers finish the queue; the appenders close; the lanes commit what the appenders hold. The drain timeout
    /// limits all of it.
    pub(crate) async fn run(self, renewals: impl Future<Output = Error>) -> Result<(), Error> {
        let shared = self.shared.clone();
        let renewals = pin!(renewals);
        let mut tasks = self.begin();
        let renewals = tasks.watch(renewals).await;
        shared.status.drains();
        shared.stop.cancel();
        let stopping = Instant::now();
        tasks.drain(renewals).await;
        tasks.close(stopping).await
    }

    /// Starts all tasks, from the end of a message's way to its beginning.
    fn begin(self) -> Tasks {
        let Self { config, consumers, processor, sources, lanes, workers, shared } = self;
        let mut tasks = Tasks::new(config, shared, lanes.first.form(), lanes.rejected.form());
        let retries = tasks.start_helpers();
        tasks.start_output(lanes.first, lanes.second);
        tasks.start_rejected(lanes.rejected);
        if let Some((lane, source)) = lanes.spill.zip(sources.spill) {
            tasks.start_spill(lane, source);
        }
        tasks.start_workers(consumers, &processor, &retries, &workers);
        tasks.start_source(sources.input);
        tasks
    }
}
