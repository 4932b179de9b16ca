//! One process: the real steward, reader and lanes, and a consumer that keeps what it gets until it is told to commit.

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
use crate::error::Error;
use crate::intake::Intake;
use crate::ledger::Counts;
use crate::message::{Message, Origin};
use crate::queue::{Queue, Seat};
use crate::record::Record;
use crate::redis::control::Control;
use crate::redis::outage::Outage;
use crate::redis::registry::{Names, Reader, Registry};
use crate::redis::server::Server;
use crate::redis::setback::Setback;
use crate::redis::timing::Timing;
use crate::sink::{Acknowledges, Keep, Lane, Records, Settled, Size, StreamLane, Target};
use crate::slot::beside;
use crate::source::stream::flow::Flow;
use crate::source::stream::steward::Steward;
use crate::source::stream::trimmed::Trimmed;
use crate::source::stream::{Life, Reading};
use crate::spill::Level;
use crate::tenure::Tenure;

/// Never over while a test runs: it lapses when the test says so.
const LEASE: Duration = Duration::from_secs(3600);

/// What all processes of one group have in common.
pub(super) struct Group {
    pub(super) names: Names,
    pub(super) output: String,
    /// All tenures, in the order in which they began.
    pub(super) tenures: RefCell<Vec<Uuid>>,
}

/// Dropping it is `kill -9`.
pub(super) struct Process {
    pub(super) wire: Wire,
    pub(super) steward: Steward,
    reading: Reading,
    seat: Seat,
    lanes: [StreamLane; 2],
    group: Rc<Group>,
    /// What its consumer has, and has not committed.
    pub(super) held: Vec<Message>,
}

/// A commit, as it went out.
pub(super) struct Committed {
    pub(super) tenure: Arc<Tenure>,
    /// Whether the process knew already that its tenure is over.
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
        let mut steward = Steward::new(registry, input, LEASE, Arc::default(), Arc::<Level>::default());
        steward.join(Begin::Beginning).await.unwrap();

        let origin = Origin::Input("payload".into());
        let (queue, stop) = (Queue::new(), CancellationToken::new());
        let (buffer, counts) = (Buffer::new(1 << 20), Arc::new(Counts::default()));
        let intake = Intake::new(queue.clone(), buffer, counts, Overflow::Wait, None, None, stop.clone());
        let reading = Reading {
            reader: Reader::new(server.clone(), names.clone(), origin.clone()),
            registry: steward.another_desk(),
            estate: steward.estate(),
            begin: Begin::Beginning,
            origin,
            stream: names.input.as_str().into(),
            channel: names.input.as_str().into(),
            intake,
            stop,
            flow: Flow::new(),
            trouble: None,
            outage: Outage::new("cannot read the input"),
            trimmed: Trimmed::new(false),
            life: Life::new(steward.tenure.clone()),
        };
        let acknowledges = Acknowledges { stream: names.input, group: names.group, option: "input" };
        let target = Target {
            server,
            stream: group.output.clone(),
            option: "output",
            maxlen: None,
            size: Size::default(),
            keep: Keep::nothing(),
            counts: Arc::default(),
            acknowledges: Some(acknowledges),
        };
        let lanes = [0, 1].map(|at| {
            let key = beside(&group.output, &format!("lane:{process}:{at}"));
            StreamLane::new(target.clone(), Commit::Atomic, key)
        });
        let seat = queue.seat();
        group.tenures.borrow_mut().push(steward.tenure.process);
        Self { wire, steward, reading, seat, lanes, group, held: Vec::new() }
    }

    pub(super) fn id(&self) -> Uuid {
        self.steward.tenure.process
    }

    /// Whether nothing can be pending for it that it has not been told of.
    pub(super) fn knows_all(&self) -> bool {
        let Life { tenure, in_doubt, .. } = &self.reading.life;
        !in_doubt && self.reading.reader.is_connected() && tenure.process == self.id() && !tenure.is_over()
    }

    /// Renews the lease, and hears whether it is still the one it was.
    pub(super) async fn renew(&mut self) -> Result<(), Error> {
        passed(self.steward.renew().await)
    }

    /// Ends the tenure, if it is not over, and begins another one.
    pub(super) async fn begin_anew(&mut self) -> Result<(), Error> {
        self.steward.tenure.end("the test says so");
        let begun = self.steward.begin_anew().await;
        self.group.tenures.borrow_mut().push(self.id());
        passed(begun)
    }

    /// Looks who is dead. That this process has been looking for long enough is taken for granted: the scripts must be
    /// right without that.
    pub(super) async fn sweep(&mut self) -> Result<(), Error> {
        self.live().await?;
        self.steward.timing = Timing::new(Duration::ZERO);
        self.steward.timing.renewed(Instant::now(), false);
        let lease = replace(&mut self.steward.lease, Duration::ZERO);
        let swept = self.steward.sweep().await;
        self.steward.lease = lease;
        passed(swept)
    }

    /// Takes over some of what another one has left, or buries it; whether it knew of one.
    pub(super) async fn inherit(&mut self, most: usize) -> Result<bool, Error> {
        self.prepare().await?;
        self.put_the_oldest_first();
        let left = self.reading.estate.next();
        let some = left.is_some();
        if let Some(left) = left {
            // Here it counts that it is done again and again.
            self.reading.stop = CancellationToken::new();
            self.reading.inherit(left, most).await?;
        }
        self.take();
        Ok(some)
    }

    pub(super) fn estate(&self) -> &super::super::Estate {
        &self.reading.estate
    }

    /// Reads new entries. There should be some.
    pub(super) async fn read(&mut self, most: usize) -> Result<(), Error> {
        self.prepare().await?;
        self.reading.read(most).await?;
        self.take();
        Ok(())
    }

    /// Commits some of what it holds, in records that carry the number of the commit. `None` if it holds nothing.
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
            let record = [Record::new().field("entry", payload).field("commit", number.to_string())];
            let fits = records.len() < most && records.has_room_for(&record, message.receipt());
            if fits {
                records.push(&record, true, message.receipt());
            }
            !fits
        });
        let Some(tenure) = records.held().cloned() else { return Ok(None) };
        let was_over = tenure.is_over();
        let settled = lane.commit(&records, None).await?;
        Ok(Some(Committed { tenure, was_over, settled }))
    }

    async fn live(&mut self) -> Result<(), Error> {
        if self.steward.tenure.is_over() { self.begin_anew().await } else { Ok(()) }
    }

    async fn prepare(&mut self) -> Result<(), Error> {
        self.live().await?;
        // Who is being stopped does not wait: not before another attempt, and not for entries.
        self.reading.stop = CancellationToken::new();
        self.reading.stop.cancel();
        while self.reading.prepare().await?.is_some() {}
        Ok(())
    }

    /// What others have left is known in the order of their names, which are random: no story would be the same twice.
    fn put_the_oldest_first(&self) {
        let (estate, tenures) = (&self.reading.estate, self.group.tenures.borrow());
        let mut all: Vec<_> =
            std::iter::from_fn(|| estate.next().inspect(|left| estate.settled(left))).collect();
        all.sort_by_key(|left| tenures.iter().position(|tenure| Some(*tenure) == left.process));
        all.into_iter().for_each(|left| estate.add(left));
    }

    /// Its consumer takes what waits.
    fn take(&mut self) {
        while let Some(message) = self.seat.take(1) {
            self.held.push(message);
        }
    }
}

/// What passes is tried again some other time.
fn passed(done: Result<(), Setback>) -> Result<(), Error> {
    match done {
        Ok(()) | Err(Setback::Passing(_)) => Ok(()),
        Err(Setback::Final(error)) => Err(error),
    }
}
