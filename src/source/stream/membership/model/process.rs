//! One process: the real membership, reader and lanes, and a consumer that holds its
//! messages until it is told to commit.

use std::cell::RefCell;
use std::mem::replace;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::wire::{Delayed, Wire};
use crate::buffer::Buffer;
use crate::config::{Begin, Commit, Overflow, StreamInput, Tls};
use crate::epoch::Epoch;
use crate::error::Error;
use crate::events::Events;
use crate::intake::Intake;
use crate::message::{Message, Origin};
use crate::queue::{Queue, Receiver};
use crate::record::Record;
use crate::redis::control::Control;
use crate::redis::fault::Fault;
use crate::redis::registry::{Names, Reader, Registry};
use crate::redis::server::Server;
use crate::redis::timing::Timing;
use crate::sink::{Acknowledges, Lane, Records, Settled, StreamLane, Target};
use crate::slot::beside;
use crate::source::stream::Stream;
use crate::source::stream::membership::Membership;
use crate::source::stream::reading::{Progress, Reading};
use crate::spill::Level;
use crate::status::Status;

/// Longer than any test: it lapses when the test says so.
const LEASE: Duration = Duration::from_secs(3600);

/// What all processes of a group share.
pub(super) struct Group {
    pub(super) names: Names,
    pub(super) output: String,
    /// All epochs, in the order of their beginning.
    pub(super) epochs: RefCell<Vec<Uuid>>,
}

/// A process. Dropping it is `kill -9`.
pub(super) struct Process {
    pub(super) wire: Wire,
    pub(super) membership: Membership,
    reading: Reading,
    receiver: Receiver,
    lanes: [StreamLane; 2],
    group: Rc<Group>,
    /// Messages that its consumer has and has not committed.
    pub(super) held: Vec<Message>,
}

/// The result of a commit.
pub(super) struct Committed {
    pub(super) epoch: Arc<Epoch>,
    /// Whether the process already knew that its epoch is over.
    pub(super) was_over: bool,
    pub(super) settled: Settled,
}

impl Process {
    /// A process that has joined the group.
    pub(super) async fn start(group: Rc<Group>, server: &Path, folder: &Path, delayed: Delayed) -> Self {
        let process = Uuid::new_v4();
        let wire = Wire::new(server, folder.join(process.simple().to_string()), delayed);
        let server = Server::new(wire.url.parse().unwrap(), &Tls::default()).unwrap();
        let names = group.names.clone();
        let registry = Registry::new(Control(server.clone()), names.clone(), Duration::from_secs(5));
        let input = StreamInput::default();
        let mut membership =
            Membership::new(registry, input, LEASE, Arc::default(), Arc::<Level>::default(), Status::alone());
        membership.join(Begin::Beginning).await.unwrap();

        let origin = Origin::Input("payload".into());
        let (queue, stop) = (Queue::new(), CancellationToken::new());
        let (buffer, events) = (Buffer::new(1 << 20), Arc::new(Events::default()));
        let intake = Intake::new(queue.clone(), buffer, events, Overflow::Wait, None, None, stop.clone());
        let reader = Reader::new(server.clone(), names.clone(), origin.clone());
        let source = Stream::new(reader, &membership, Begin::Beginning, origin, &names.input);
        let reading = Reading::new(source, intake, stop);
        let acknowledges =
            Acknowledges { stream: names.input, group: names.group, option: "input", deletes: false };
        let target =
            Target { acknowledges: Some(acknowledges), ..Target::output(server, group.output.clone()) };
        let lanes = [0, 1].map(|at| {
            let key = beside(&group.output, &format!("lane:{process}:{at}"));
            StreamLane::new(target.clone(), Commit::Atomic, key)
        });
        let receiver = queue.receiver();
        group.epochs.borrow_mut().push(membership.epoch.process);
        Self { wire, membership, reading, receiver, lanes, group, held: Vec::new() }
    }

    pub(super) fn id(&self) -> Uuid {
        self.membership.epoch.process
    }

    /// Whether it must know all entries that are pending for it.
    pub(super) fn knows_all(&self) -> bool {
        let Progress { epoch, uncertain, .. } = &self.reading.progress;
        !uncertain
            && self.reading.source.reader.is_connected()
            && epoch.process == self.id()
            && !epoch.is_over()
    }

    /// Renews the lease, and notices if it was fenced off.
    pub(super) async fn renew(&mut self) -> Result<(), Error> {
        passed(self.membership.renew(false).await)
    }

    /// Ends the epoch, if it is not over, and begins another one.
    pub(super) async fn begin_next(&mut self) -> Result<(), Error> {
        self.membership.epoch.end("the test says so");
        let begun = self.membership.begin_next().await;
        self.group.epochs.borrow_mut().push(self.id());
        passed(begun)
    }

    /// Finds dead members. Assumes that this process has been observing for long enough: the
    /// scripts must be right without that.
    pub(super) async fn sweep(&mut self) -> Result<(), Error> {
        self.live().await?;
        self.membership.timing = Timing::new(Duration::ZERO);
        self.membership.timing.renewed(Instant::now(), false);
        let lease = replace(&mut self.membership.lease, Duration::ZERO);
        let swept = self.membership.sweep().await;
        self.membership.lease = lease;
        passed(swept)
    }

    /// Takes over some entries of a dead member, or removes it. Returns whether it knew one.
    pub(super) async fn take_over(&mut self, most: usize) -> Result<bool, Error> {
        self.prepare().await?;
        self.put_the_oldest_first();
        let left = self.reading.source.takeovers.next();
        let some = left.is_some();
        if let Some(left) = left {
            // Replaces the stop of `prepare`, which would end the repetition of claims.
            self.reading.stop = CancellationToken::new();
            self.reading.take_over(left, most).await?;
        }
        self.take();
        Ok(some)
    }

    pub(super) fn takeovers(&self) -> &super::super::Takeovers {
        &self.reading.source.takeovers
    }

    /// Reads new entries. There should be some.
    pub(super) async fn read(&mut self, most: usize) -> Result<(), Error> {
        self.prepare().await?;
        self.reading.read(most).await?;
        self.take();
        Ok(())
    }

    /// Commits some of the messages it holds, in records that carry the number of the
    /// commit. `None` if it holds nothing.
    pub(super) async fn commit(
        &mut self,
        lane: usize,
        most: usize,
        number: u32,
    ) -> Result<Option<Committed>, Error> {
        let lane = &mut self.lanes[lane];
        let mut records = Records::new(lane.form());
        self.held.retain(|message| {
            let payload = message.payload().to_vec();
            let record = [Record::new().bytes("entry", payload).field("commit", number.to_string())];
            let fits = records.len() < most && records.has_room_for(&record, message.receipt());
            if fits {
                records.push(&record, true, message.receipt());
            }
            !fits
        });
        let Some(epoch) = records.held().cloned() else { return Ok(None) };
        let was_over = epoch.is_over();
        let settled = lane.commit(&records, None).await?;
        Ok(Some(Committed { epoch, was_over, settled }))
    }

    async fn live(&mut self) -> Result<(), Error> {
        if self.membership.epoch.is_over() { self.begin_next().await } else { Ok(()) }
    }

    async fn prepare(&mut self) -> Result<(), Error> {
        self.live().await?;
        // A stopped process does not wait, neither for a backoff nor for entries.
        self.reading.stop = CancellationToken::new();
        self.reading.stop.cancel();
        while self.reading.prepare().await?.is_some() {}
        Ok(())
    }

    /// Takeovers are found in the order of random names. Sorted by age, so that a story is repeatable.
    fn put_the_oldest_first(&self) {
        let (takeovers, epochs) = (&self.reading.source.takeovers, self.group.epochs.borrow());
        let mut all: Vec<_> =
            std::iter::from_fn(|| takeovers.next().inspect(|left| takeovers.settled(left))).collect();
        all.sort_by_key(|left| epochs.iter().position(|epoch| Some(*epoch) == left.process));
        all.into_iter().for_each(|left| takeovers.add(left));
    }

    /// Its consumer takes all waiting messages.
    fn take(&mut self) {
        while let Some(message) = self.receiver.take(1) {
            self.held.push(message);
        }
    }
}

/// Ignores transient faults: a later command tries again.
fn passed(done: Result<(), Fault>) -> Result<(), Error> {
    match done {
        Ok(()) | Err(Fault::Transient(_)) => Ok(()),
        Err(Fault::Permanent(error)) => Err(error),
    }
}
