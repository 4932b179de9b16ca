//! Replays rejected messages: selects the entries that go through the processor again, and decides when that is done.
//!
//! The stream alone holds the state: an entry is there until the commit of its new record deletes it. So the group
//! begins again with each epoch, and nothing of an earlier replay has to be remembered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::reading::{Reading, Step};
use crate::config::Replay;
use crate::entry_id::EntryId;
use crate::message::{self, Earlier, Origin};
use crate::record::{Record, fields};
use crate::redis::registry::Entries;
use crate::rejected::{PAYLOAD, RejectedEntry};
use crate::text;

/// A replay: the selected entries, and the state that its shards share.
pub(crate) struct Replaying {
    pub(crate) selection: Replay,
    /// The last entry of the stream at the start.
    pub(crate) until: EntryId,
    /// For entries of a stream: the field that may hold the whole payload.
    pub(crate) payload_field: Arc<str>,
    pub(crate) shared: Shared,
}

/// The state that all shards of a replay share, as one of them sees it.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    shards: Arc<Mutex<Vec<OfShard>>>,
    /// The index of this shard.
    shard: usize,
}

/// The state of one shard.
#[derive(Debug, Default, Clone, Copy)]
struct OfShard {
    /// Entries that were replayed or are in flight. It shrinks when entries are discarded at the end of an epoch.
    replayed: u64,
    /// Why it reads no more, unless it reads.
    done: Option<Done>,
}

/// Why a shard reads no more. It waits for the others then: when one ends, all end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// All entries were read.
    All,
    /// All shards together have replayed as many entries as requested.
    Enough,
}

/// The progress of a replay within an epoch.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Whether all entries to replay were read, and why.
    pub(super) read: Option<Done>,
    /// Entries that stay because they are not selected.
    unselected: u64,
    /// Entries that hold only the first bytes of their message.
    cut: u64,
    /// Entries that were not written by a group.
    foreign: u64,
}

/// How often to check whether all messages are processed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

impl Shared {
    /// The state of a replay, for each of its shards.
    pub(crate) fn of_shards(count: usize) -> impl Iterator<Item = Self> {
        let shards = Arc::new(Mutex::new(vec![OfShard::default(); count]));
        (0..count).map(move |shard| Self { shards: shards.clone(), shard })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OfShard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Replaying {
    fn are_enough(&self, shards: &[OfShard]) -> bool {
        let replayed = shards.iter().map(|shard| shard.replayed).sum::<u64>();
        self.selection.count.is_some_and(|most| replayed >= most)
    }

    /// Notes that this shard reads.
    fn goes_on(&self) {
        self.shared.lock()[self.shared.shard].done = None;
    }

    /// Notes that this shard has replayed this many entries. Returns whether all shards together have replayed enough.
    fn has_enough(&self, replayed: u64) -> bool {
        let mut shards = self.shared.lock();
        shards[self.shared.shard].replayed = replayed;
        self.are_enough(&shards)
    }

    /// Notes that this shard has replayed this many entries, and why it is done. Returns whether all shards are done;
    /// `None` if it has to read again.
    fn is_over(&self, replayed: u64, done: Done) -> Option<bool> {
        let mut shards = self.shared.lock();
        shards[self.shared.shard] = OfShard { replayed, done: Some(done) };
        let are_enough = self.are_enough(&shards);
        if done == Done::Enough && !are_enough {
            shards[self.shared.shard].done = None;
            return None;
        }
        Some(shards.iter().all(|shard| match shard.done {
            Some(Done::All) => true,
            Some(Done::Enough) => are_enough,
            None => false,
        }))
    }
}

impl Reading {
    /// Hands the selected entries to the intake, each as its original message.
    pub(super) async fn replay(&mut self, replaying: &Replaying, entries: Entries, attempt: u32) {
        let mut stay = Vec::new();
        replaying.goes_on();
        let counts = replaying.selection.count.is_some();
        for (span, entry) in entries.spans.iter().zip(&entries.list) {
            // From the last one on, entries stay pending until the group is deleted.
            if entry.id > replaying.until {
                self.progress.replayed.read = Some(Done::All);
                break;
            }
            if counts && replaying.has_enough(self.intake.unfenced()) {
                self.progress.replayed.read = Some(Done::Enough);
                break;
            }
            let encoded = &entries.bytes[span.start as usize..][..span.len as usize];
            let all: Vec<_> = fields(encoded, entry.fields as usize).collect();
            let rejected = RejectedEntry::of(&all);
            let error = rejected.as_ref().map_or(&b""[..], |rejected| rejected.error);
            let replayed = &mut self.progress.replayed;
            match rejected {
                _ if !replaying.selection.takes(entry.id, error) => replayed.unselected += 1,
                None => replayed.foreign += 1,
                Some(RejectedEntry { payload_bytes: Some(_), .. }) => replayed.cut += 1,
                Some(rejected) => {
                    let own = all[..rejected.fields].iter().copied().collect();
                    self.hand_over_again(replaying, entry.id, own, &rejected, attempt).await;
                    continue;
                }
            }
            stay.push(entry.id);
        }
        if self.progress.last >= replaying.until {
            self.progress.replayed.read.get_or_insert(Done::All);
        }
        if !stay.is_empty()
            && let Err(fault) = self.source.registry.acknowledge(&stay).await
        {
            tracing::debug!("{} entries stay pending until the group is destroyed: {fault:?}", stay.len());
        }
    }

    async fn hand_over_again(
        &mut self,
        replaying: &Replaying,
        id: EntryId,
        own: Record,
        rejected: &RejectedEntry<'_>,
        attempt: u32,
    ) {
        let count = u32::try_from(own.len()).unwrap_or(u32::MAX);
        let Entries { bytes, spans, list, .. } =
            Entries::of_one(id, own.encoded().to_vec(), count, Some(PAYLOAD.as_bytes()));
        let earlier = Earlier {
            payload_field: replaying.payload_field.clone(),
            source_id: rejected.source_id,
            attempts: rejected.attempts.unwrap_or(0),
        };
        let origin = Origin::Rejected(Arc::new(earlier));
        let held = message::Entries { epoch: self.progress.epoch.clone(), origin, list };
        let source: Arc<str> = String::from_utf8_lossy(rejected.source).into();
        self.intake.accept_entries(&source, bytes, spans, held, attempt).await;
    }

    /// Ends once all messages are processed, in the other shards too. Entries that wait for their next attempt get
    /// it; a stop would not give it to them.
    pub(super) async fn conclude(&mut self, replaying: &Replaying, done: Done) -> Step {
        if self.intake.in_flight() > 0 || self.progress.epoch.is_over() {
            let _ = self.stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
            return Step::Done;
        }
        let Some(is_over) = replaying.is_over(self.intake.unfenced(), done) else {
            // Entries that were not handed over are pending under this epoch's name. Another epoch reads them again.
            self.progress.epoch.end("fewer messages are replayed than requested, because an epoch ended");
            return Step::Done;
        };
        self.log_what_stays();
        if is_over {
            return Step::Over;
        }
        let _ = self.stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
        Step::Done
    }

    /// Logs how many entries stay, once in each epoch.
    fn log_what_stays(&mut self) {
        let replayed = &mut self.progress.replayed;
        let Replayed { read, unselected, cut, foreign } = *replayed;
        *replayed = Replayed { read, ..Replayed::default() };
        let stream = &self.source.stream;
        if unselected > 0 {
            tracing::info!("{} not selected; left in {stream}", text::entries(unselected));
        }
        if cut > 0 {
            tracing::warn!(
                "{} not replayed, but left in {stream}: the payload was longer than max-payload, and only its first bytes \
                 were kept; publish the whole payload again",
                text::entries(cut)
            );
        }
        if foreign > 0 {
            tracing::warn!(
                "{} not replayed, but left in {stream}: not written by a group; inspect the stream",
                text::entries(foreign)
            );
        }
    }
}
