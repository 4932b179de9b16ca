//! The records of one commit.

use crate::record::Record;

/// Records on their way into one commit, in their encoded form, and whose messages they are.
#[derive(Debug, Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    messages: u64,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    len: u32,
    fields: u32,
}

impl Records {
    /// A commit of this many small records holds the server for about half a millisecond.
    const MOST_RECORDS: usize = 256;
    /// And one of this many bytes for no longer.
    pub(crate) const MOST_BYTES: usize = 128 << 10;

    /// How many of these records of one message go into one commit: at least one, if there is any.
    pub(crate) fn first_commit(records: &[Record]) -> Option<usize> {
        let mut bytes = 0;
        let fitting = records
            .iter()
            .take(Self::MOST_RECORDS)
            .take_while(|record| {
                bytes += record.encoded().len();
                bytes <= Self::MOST_BYTES
            })
            .count();
        (!records.is_empty()).then_some(fitting.max(1))
    }

    /// Whether these records of one message fit in beside what is there. Whatever is larger goes alone.
    pub(crate) fn has_room_for(&self, records: &[Record]) -> bool {
        let bytes: usize = records.iter().map(|record| record.encoded().len()).sum();
        self.entries.is_empty()
            || (self.entries.len() + records.len() <= Self::MOST_RECORDS
                && self.bytes.len() + bytes <= Self::MOST_BYTES)
    }

    /// Adds records of one message. `complete` when they are the last ones of it.
    pub(crate) fn push(&mut self, records: &[Record], complete: bool) {
        for record in records {
            let encoded = record.encoded();
            self.bytes.extend_from_slice(encoded);
            // 4 GiB in one record: the server takes no argument above 512 MiB, and says so.
            let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            self.entries.push(Entry { len: narrow(encoded.len()), fields: narrow(record.len()) });
        }
        self.messages += u64::from(complete);
    }

    /// Whether these fit in beside what is there. Whatever is larger goes alone.
    pub(crate) fn has_room_for_all(&self, others: &Records) -> bool {
        self.is_empty()
            || (self.len() + others.len() <= Self::MOST_RECORDS
                && self.bytes() + others.bytes() <= Self::MOST_BYTES)
    }

    /// Moves all of these behind what is there.
    pub(crate) fn append(&mut self, others: &mut Records) {
        self.bytes.append(&mut others.bytes);
        self.entries.append(&mut others.entries);
        self.messages += std::mem::take(&mut others.messages);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes their fields take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many messages the records stand for.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// The encoded fields of each record, and how many fields they are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |entry| {
            let (encoded, after) = rest.split_at(entry.len as usize);
            rest = after;
            (encoded, entry.fields as usize)
        })
    }

    /// Makes it ready for the next commit, keeping its memory unless one large record blew it up.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.messages = 0;
        self.shrink_to(2 * Self::MOST_BYTES);
    }

    /// Gives back memory for more bytes than so many.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> Record {
        Record::new().field("f", "x".repeat(bytes))
    }

    #[test]
    fn a_commit_holds_256_records_and_no_more() {
        let mut records = Records::default();
        for _ in 0..256 {
            assert!(records.has_room_for(&[record(1)]));
            records.push(&[record(1)], true);
        }
        assert!(!records.has_room_for(&[record(1)]));
        assert_eq!((records.len(), records.messages()), (256, 256));
    }

    #[test]
    fn a_large_record_goes_alone() {
        let mut records = Records::default();
        assert!(records.has_room_for(&[record(10 << 20)]));
        records.push(&[record(10 << 20)], true);
        assert!(!records.has_room_for(&[record(1)]));
        records.clear();
        records.push(&[record(1)], true);
        assert!(!records.has_room_for(&[record(128 << 10)]));
    }

    #[test]
    fn the_records_of_one_message_stay_together_and_in_order() {
        let mut records = Records::default();
        records.push(&[record(1), record(2).field("g", "")], true);
        let entries: Vec<_> =
            records.iter().map(|(encoded, fields)| Record::from_encoded(encoded, fields)).collect();
        assert_eq!(entries, [record(1), record(2).field("g", "")]);
        assert_eq!((records.len(), records.messages()), (2, 1));
    }

    #[test]
    fn many_records_of_one_message_need_several_commits() {
        let many: Vec<_> = (0..600).map(|_| record(1)).collect();
        assert_eq!(Records::first_commit(&many), Some(256));
        assert_eq!(Records::first_commit(&many[512..]), Some(88));
        let large = [record(100 << 10), record(100 << 10)];
        assert_eq!(Records::first_commit(&large), Some(1));
        assert_eq!(Records::first_commit(&[record(1 << 20)]), Some(1));
        assert_eq!(Records::first_commit(&[]), None);
    }
}
