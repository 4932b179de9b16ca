//! Which rejected messages are processed again.

use super::{Begin, Commit, Config, SourceKind};
use crate::entry_id::EntryId;
use crate::error::{Error, check};

/// Selects the entries that are processed again with [`SourceKind::Rejected`]: those that meet all of these conditions.
/// The others stay unchanged in the stream.
///
/// ```
/// use redis_consumer_group::Replay;
///
/// let replay = Replay::all().reason("no such customer").count(100);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replay {
    /// Entries with these ids. Default: any id.
    pub ids: Vec<EntryId>,
    /// Entries whose field `error` contains this text. Default: any reason.
    pub reason: Option<String>,
    /// The most entries to process again, the oldest first, of all shards together. Default: no limit.
    pub count: Option<u64>,
}

impl Replay {
    /// Selects all entries.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects only entries with these ids.
    #[must_use]
    pub fn ids(self, ids: impl IntoIterator<Item = EntryId>) -> Self {
        Self { ids: ids.into_iter().collect(), ..self }
    }

    /// Selects only entries whose field `error` contains this text.
    #[must_use]
    pub fn reason(self, text: impl Into<String>) -> Self {
        Self { reason: Some(text.into()), ..self }
    }

    /// Selects at most this many entries, the oldest first, of all shards together.
    #[must_use]
    pub fn count(self, most: u64) -> Self {
        Self { count: Some(most), ..self }
    }

    /// Whether the entry is selected.
    pub(crate) fn takes(&self, id: EntryId, error: &[u8]) -> bool {
        let reason = self.reason.as_deref().map(str::as_bytes);
        (self.ids.is_empty() || self.ids.contains(&id))
            && reason.is_none_or(|reason| memchr::memmem::find(error, reason).is_some())
    }

    /// The position where reading begins.
    pub(crate) fn begin(&self) -> Begin {
        match self.ids.iter().min() {
            Some(EntryId { ms, seq: seq @ 1.. }) => Begin::After(EntryId { ms: *ms, seq: seq - 1 }),
            Some(EntryId { ms: ms @ 1.., .. }) => Begin::After(EntryId { ms: ms - 1, seq: u64::MAX }),
            _ => Begin::Beginning,
        }
    }
}

impl Config {
    pub(super) fn validate_replay(&self) -> Result<(), Error> {
        let atomic = self.source != SourceKind::Rejected || self.commit == Commit::Atomic;
        check("commit", atomic, || {
            "rejected messages are moved by atomic commits; set commit to atomic".into()
        })?;
        check("count", self.replay.count != Some(0), || "0 replays nothing; use 1 or more".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_taken_when_its_id_and_its_reason_are_asked_for() {
        let id = |ms| EntryId { ms, seq: 0 };
        assert!(Replay::default().takes(id(1), b"any"));
        let replay = Replay { ids: vec![id(1), id(3)], reason: Some("no such".into()), count: None };
        assert!(replay.takes(id(3), b"\xffno such customer"));
        assert!(!replay.takes(id(2), b"no such customer"));
        assert!(!replay.takes(id(1), b"no"));
    }

    #[test]
    fn reading_begins_with_the_first_id_that_is_asked_for() {
        let of = |ms, seq| Replay {
            ids: vec![EntryId { ms: 9, seq: 9 }, EntryId { ms, seq }],
            ..Replay::default()
        };
        assert_eq!(of(5, 2).begin(), Begin::After(EntryId { ms: 5, seq: 1 }));
        assert_eq!(of(5, 0).begin(), Begin::After(EntryId { ms: 4, seq: u64::MAX }));
        assert_eq!(of(0, 0).begin(), Begin::Beginning);
        assert_eq!(Replay::default().begin(), Begin::Beginning);
    }
}
