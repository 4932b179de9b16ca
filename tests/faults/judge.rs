//! Compares the messages published, received and appended, id by id, and the ledger with all three.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis_consumer_group::{Builder, Consumer, Failure, Ledger, Message, Processor, Record};

use crate::load::Published;
use crate::support::entries;

/// Records the id of each message that reaches the processor. These messages count as received.
#[derive(Clone, Default)]
pub(crate) struct Witness {
    seen: Arc<Mutex<HashMap<u64, u32>>>,
}

impl Witness {
    /// Gives the group a processor that records each message and appends it.
    pub(crate) fn beside<P: Processor>(&self, builder: Builder<P>) -> Builder<impl Processor> {
        let witness = self.clone();
        builder.processor(move |consumer, message| {
            let record = witness.note(&consumer, &message);
            async move { Ok::<_, Failure>(record) }
        })
    }

    pub(crate) fn note(&self, consumer: &Consumer, message: &Message) -> Record {
        let id = id_of(message.payload());
        *self.seen.lock().unwrap().entry(id).or_default() += 1;
        Record::new().field("message_id", id.to_string()).field("consumer_id", consumer.id())
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn ids(&self) -> HashSet<u64> {
        self.seen.lock().unwrap().keys().copied().collect()
    }

    /// The ids that it received more than once.
    fn twice(&self) -> Vec<u64> {
        twice(&self.seen.lock().unwrap())
    }
}

/// The id at the front of a payload.
pub(crate) fn id_of(payload: &[u8]) -> u64 {
    let digits = payload.split(|byte| *byte == b':').next().unwrap();
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

/// The number of entries per id in a stream.
pub(crate) async fn appended(redis: &mut MultiplexedConnection, stream: &str) -> HashMap<u64, u32> {
    let mut ids = HashMap::new();
    for id in in_order(redis, stream).await {
        *ids.entry(id).or_default() += 1;
    }
    ids
}

/// The ids in a stream, in order.
pub(crate) async fn in_order(redis: &mut MultiplexedConnection, stream: &str) -> Vec<u64> {
    let entries = entries(redis, stream).await;
    entries.iter().map(|entry| entry.text("message_id").unwrap().parse().unwrap()).collect()
}

/// Checks that no message is missing or duplicated, and that the ledger adds up.
///
/// Abandoned messages may be in the output, because their answers did not arrive. Dropped messages never reached
/// the witness. A published message that was not received needs a gap, a drop or an abandoned message to explain it.
#[track_caller]
pub(crate) fn judge(published: &Published, witness: &Witness, appended: &HashMap<u64, u32>, ledger: &Ledger) {
    let received = witness.ids();
    assert_eq!(witness.twice(), [0; 0], "received twice; {ledger}");
    assert_eq!(twice(appended), [0; 0], "appended twice; {ledger}");
    assert!(!received.is_empty(), "nothing was received; {ledger}");

    let unheard: Vec<_> = appended.keys().filter(|id| !received.contains(id)).collect();
    assert!(unheard.is_empty(), "appended and never received: {unheard:?}; {ledger}");
    let missing: Vec<_> = received.iter().filter(|id| !appended.contains_key(id)).collect();
    assert!(
        missing.len() as u64 <= ledger.rejected + ledger.abandoned,
        "{} were received and are missing, {:?} …; {ledger}",
        missing.len(),
        &missing[..missing.len().min(10)]
    );

    assert_eq!(ledger.in_flight(), 0, "{ledger}");
    assert!(ledger.processed <= appended.len() as u64, "{} are in the output; {ledger}", appended.len());
    assert!(appended.len() as u64 <= ledger.processed + ledger.abandoned, "{ledger}");
    let reached = ledger.received - ledger.dropped;
    assert!(received.len() as u64 <= reached, "{ledger}");
    assert!(reached <= received.len() as u64 + ledger.abandoned, "{} were seen; {ledger}", received.len());

    // Dropped and abandoned messages may never have reached the witness. Their number was checked above.
    if ledger.dropped == 0 && ledger.abandoned == 0 {
        let lost = lost_runs(published, &received);
        let gaps: Vec<_> = ledger.gaps.latest.iter().map(|gap| gap.duration).collect();
        // If there are many gaps, the ledger keeps only the latest.
        if ledger.gaps.count == gaps.len() as u64 {
            let unexplained = first_unexplained(&lost, &gaps);
            assert!(unexplained.is_none(), "{unexplained:?} of {lost:?} is explained by no gap; {ledger:#?}");
        }
        assert!(lost.len() as u64 <= ledger.gaps.count, "{lost:?}; {ledger}");
    }
}

/// Consecutively published messages, none of which was received.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    /// The least time between the publishing of the first message and of the last one.
    lasted: Duration,
}

fn lost_runs(published: &Published, received: &HashSet<u64>) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut current: Option<Run> = None;
    for (id, sent) in published {
        if received.contains(id) {
            runs.extend(current.take());
            continue;
        }
        let run = current.get_or_insert(Run { first: *id, last: *id, lasted: Duration::ZERO });
        run.last = *id;
        run.lasted = sent.written.saturating_duration_since(published[&run.first].confirmed);
    }
    runs.extend(current);
    runs
}

/// Returns the first run that no gap explains. Runs are in the order of their gaps, and a gap belongs to at most one
/// run, because something was received after it. If nothing was received between several gaps, their run may last as
/// long as all of them together.
fn first_unexplained(runs: &[Run], gaps: &[Duration]) -> Option<Run> {
    /// Messages published just before the last byte was received are still on their way then.
    const ON_ITS_WAY: Duration = Duration::from_millis(250);
    let mut gaps = gaps.iter();
    let mut is_explained = |run: &Run| {
        let mut explained = Duration::ZERO;
        gaps.any(|gap| {
            explained += *gap + ON_ITS_WAY;
            run.lasted <= explained
        })
    };
    runs.iter().find(|run| !is_explained(run)).copied()
}

fn twice(ids: &HashMap<u64, u32>) -> Vec<u64> {
    ids.iter().filter(|(_, times)| **times > 1).map(|(id, _)| *id).collect()
}

#[test]
fn a_gap_explains_one_run_of_lost_messages_that_lasted_no_longer() {
    const SECOND: Duration = Duration::from_secs(1);
    let start = tokio::time::Instant::now();
    // One message a second. Two runs are lost: 3 to 5, and 7.
    let published: Published = (0..10u64)
        .map(|id| {
            let at = start + SECOND * u32::try_from(id).unwrap();
            (id, crate::load::Sent { written: at, confirmed: at })
        })
        .collect();
    let received = HashSet::from([0, 1, 2, 6, 8, 9]);
    let lost = lost_runs(&published, &received);
    let unexplained = |gaps: &[Duration]| first_unexplained(&lost, gaps).map(|run| (run.first, run.last));
    assert_eq!(unexplained(&[2 * SECOND, SECOND]), None);
    assert_eq!(unexplained(&[SECOND, 2 * SECOND, SECOND]), None, "a gap may have cost nothing");
    assert_eq!(unexplained(&[10 * SECOND]), Some((7, 7)));
    assert_eq!(unexplained(&[SECOND, SECOND, SECOND]), None, "nothing was received between two gaps");
    assert_eq!(unexplained(&[SECOND, SECOND]), Some((7, 7)));
    assert_eq!(unexplained(&[SECOND]), Some((3, 5)));
    assert_eq!(unexplained(&[]), Some((3, 5)));
}
