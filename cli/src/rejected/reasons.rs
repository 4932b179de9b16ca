//! Counts the entries of each reason.

use std::collections::HashMap;

use redis_consumer_group::EntryId;
use serde::Serialize;

use super::entry::{Entry, time};
use crate::printable::printable;

/// The reasons of all entries that were read.
#[derive(Default)]
pub(super) struct Reasons {
    by_reason: HashMap<String, Found>,
    /// Entries whose reason did not fit below the limit.
    others: u64,
}

struct Found {
    entries: u64,
    first: EntryId,
    last: EntryId,
}

#[derive(Serialize)]
struct Line<'a> {
    error: &'a str,
    entries: u64,
    /// In UTC.
    first: String,
    last: String,
}

impl Reasons {
    /// The limit of different reasons: a reason that quotes its message differs for every message.
    const MOST: usize = 10_000;

    pub(super) fn add(&mut self, entry: &Entry) {
        let reason = entry.reason();
        if self.by_reason.len() >= Self::MOST && !self.by_reason.contains_key(&reason) {
            self.others += 1;
            return;
        }
        let found =
            self.by_reason.entry(reason).or_insert(Found { entries: 0, first: entry.id, last: entry.id });
        found.entries += 1;
        (found.first, found.last) = (found.first.min(entry.id), found.last.max(entry.id));
    }

    /// A line for each reason, the most frequent first.
    pub(super) fn lines(&self, json: bool) -> String {
        let mut all: Vec<_> = self.by_reason.iter().collect();
        all.sort_by(|(a, of_a), (b, of_b)| of_b.entries.cmp(&of_a.entries).then(a.cmp(b)));
        let mut lines: String = all.into_iter().map(|(reason, found)| found.line(reason, json)).collect();
        if self.others > 0 && !json {
            lines += &format!("{:>8}  (other reasons)\n", self.others);
        }
        lines
    }
}

impl Found {
    fn line(&self, reason: &str, json: bool) -> String {
        let (first, last) = (time(self.first), time(self.last));
        if json {
            let line = Line { error: reason, entries: self.entries, first, last };
            return serde_json::to_string(&line).unwrap_or_else(|_| unreachable!("texts and a number"))
                + "\n";
        }
        format!("{:>8}  {}  (first {first}, last {last})\n", self.entries, printable(reason))
    }
}
