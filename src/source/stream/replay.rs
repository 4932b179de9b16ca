//! Replays rejected messages: selects the entries that go through the processor again, and decides when that is done.
//!
//! The stream alone holds the state: an entry is there until the commit of its new record deletes it. So the group
//! begins again with each epoch, and nothing of an earlier replay has to be remembered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Barrier;
use tokio::time::sleep;

use super::reading::{Reading, Step};
use crate::config::Replay;
use crate::entry_id::EntryId;
use crate::message::{self, Earlier, Origin};
use crate::record::{Record, fields};
use crate::redis::registry::Entries;
use crate::rejected::{PAYLOAD, Rejected};
use crate::text;

/// A replay: the selected entries, and the state that its shards share.
pub(crate) struct Replaying {
    pub(crate) selection: Replay,
    /// The last entry of the stream at the start.
    pub(crate) until: EntryId,
    /// For entries of a stream: the field that may hold the whole payload.
    pub(crate) payload_field: Arc<str>,
    pub(crate) shared: Arc<Shared>,
}

/// The state that all shards of a replay share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Shards that are done wait here for the others: when one ends, all end.
    done: Barrier,
    /// Entries that were handed to the intake.
    replayed: AtomicU64,
}

/// The progress of a replay within an epoch.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    /// Whether all entries to replay were read.
    pub(super) is_read: bool,
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
    pub(crate) fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self { done: Barrier::new(shards), replayed: AtomicU64::new(0) })
    }
}

impl Replaying {
    fn is_full(&self) -> bool {
        self.selection.count.is_some_and(|most| self.shared.replayed.load(Ordering::Acquire) >= most)
    }
}

impl Reading {
    /// Hands the selected entries to the intake, each as its original message.
    pub(super) async fn replay(&mut self, replaying: &Replaying, entries: Entries, attempt: u32) {
        let mut stay = Vec::new();
        for (span, entry) in entries.spans.iter().zip(&entries.list) {
            if entry.id > replaying.until || replaying.is_full() {
                // This entry stays pending until the group is deleted.
                self.progress.replayed.is_read = true;
                break;
            }
            let encoded = &entries.bytes[span.start as usize..][..span.len as usize];
            let all: Vec<_> = fields(encoded, entry.fields as usize).collect();
            let rejected = Rejected::of(&all);
            let error = rejected.as_ref().map_or(&b""[..], |rejected| rejected.error);
            let replayed = &mut self.progress.replayed;
            match rejected {
                _ if !replaying.selection.takes(entry.id, error) => replayed.unselected += 1,
                None => replayed.foreign += 1,
                Some(Rejected { payload_bytes: Some(_), .. }) => replayed.cut += 1,
                Some(rejected) => {
                    replaying.shared.replayed.fetch_add(1, Ordering::AcqRel);
                    let own = all[..rejected.fields].iter().copied().collect();
                    self.hand_over_again(replaying, entry.id, own, &rejected, attempt).await;
                    continue;
                }
            }
            stay.push(entry.id);
        }
        self.progress.replayed.is_read |= self.progress.last >= replaying.until;
        if !stay.is_empty()
            && let Err(fault) = self.source.registry.acknowledge(&stay).await
        {
            tracing::debug!("{} entries are pending until the group is gone: {fault:?}", stay.len());
        }
    }

    async fn hand_over_again(
        &mut self,
        replaying: &Replaying,
        id: EntryId,
        own: Record,
        rejected: &Rejected<'_>,
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
        self.intake.keep_entries(&source, bytes, spans, held, attempt).await;
    }

    /// Ends once all messages are processed, in the other shards too. Entries that wait for their next attempt get
    /// it; a stop would not give it to them.
    pub(super) async fn conclude(&mut self, replaying: &Replaying) -> Step {
        if self.intake.in_flight() > 0 || self.progress.epoch.is_over() {
            let _ = self.stop.run_until_cancelled(sleep(LOOK_EVERY)).await;
            return Step::Done;
        }
        self.tell_what_stays();
        let _ = self.stop.run_until_cancelled(replaying.shared.done.wait()).await;
        Step::Over
    }

    fn tell_what_stays(&self) {
        let Replayed { unselected, cut, foreign, .. } = self.progress.replayed;
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
