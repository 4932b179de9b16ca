//! A server's figures of a stream and its groups, and what they show about entries that nobody read.

use crate::entry_id::EntryId;
use crate::redis::reply::Reply;

/// The figures of the stream and the group just before entries are delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// How many entries were ever added.
    pub(crate) added: u64,
    /// How many entries the stream has now.
    pub(crate) length: u64,
    /// The oldest entry that the stream has now.
    pub(crate) first: Option<EntryId>,
    /// How many entries were added up to the last delivered one, trimmed ones included. `None`: unknown.
    pub(crate) read: Option<u64>,
    /// The last entry that was delivered.
    pub(crate) last_delivered: EntryId,
}

impl Figures {
    pub(super) fn of_stream(&mut self, reply: &Reply<'_>) {
        let number = |name| value(reply, name).and_then(int);
        self.added = number("entries-added").unwrap_or(0);
        self.length = number("length").unwrap_or(0);
        self.first = match value(reply, "first-entry") {
            Some(Reply::Array(Some(entry))) => entry.first().and_then(id),
            _ => None,
        };
    }

    pub(super) fn of_group(&mut self, reply: &Reply<'_>, group: &[u8]) {
        let Reply::Array(Some(groups)) = reply else { return };
        let ours = groups
            .iter()
            .find(|of| matches!(value(of, "name"), Some(Reply::Bulk(Some(name))) if *name == group));
        let Some(ours) = ours else { return };
        self.read = value(ours, "entries-read").and_then(int);
        self.last_delivered = value(ours, "last-delivered-id").and_then(id).unwrap_or_default();
    }

    /// How many entries were trimmed before the group read them, if the next read skips them.
    pub(crate) fn trimmed_unread(&self) -> u64 {
        match self.read {
            Some(read) if self.jumps() => self.removed().saturating_sub(read),
            _ => 0,
        }
    }

    /// How many entries are gone.
    pub(crate) fn removed(&self) -> u64 {
        self.added.saturating_sub(self.length)
    }

    /// Whether there may have been entries between the last delivered one and the oldest one left.
    fn jumps(&self) -> bool {
        self.first.is_none_or(|first| first > self.last_delivered)
    }

    /// Whether entries may have been trimmed unread since `earlier`, in an unknown number.
    pub(crate) fn may_have_trimmed_unread_since(&self, earlier: &Self) -> bool {
        self.read.is_none() && self.removed() > earlier.removed() && self.jumps()
    }
}

fn value<'a, 'b>(reply: &'b Reply<'a>, name: &str) -> Option<&'b Reply<'a>> {
    let Reply::Array(Some(pairs)) = reply else { return None };
    let mut pairs = pairs.chunks_exact(2);
    pairs.find(|pair| pair[0] == Reply::Bulk(Some(name.as_bytes()))).map(|pair| &pair[1])
}

fn int(reply: &Reply<'_>) -> Option<u64> {
    match reply {
        Reply::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn id(reply: &Reply<'_>) -> Option<EntryId> {
    match reply {
        Reply::Bulk(Some(id)) => EntryId::parse(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_count_of_what_was_read_it_is_only_known_that_something_may_be_missing() {
        let id = |ms| EntryId { ms, seq: 0 };
        let earlier =
            Figures { added: 10, length: 10, first: Some(id(1)), read: None, last_delivered: id(3) };
        let trimmed = Figures { length: 4, first: Some(id(7)), ..earlier };
        assert!(trimmed.may_have_trimmed_unread_since(&earlier) && trimmed.trimmed_unread() == 0);
        let only_old_ones = Figures { length: 8, first: Some(id(3)), ..earlier };
        assert!(!only_old_ones.may_have_trimmed_unread_since(&earlier));
        assert!(!trimmed.may_have_trimmed_unread_since(&trimmed));
    }
}
