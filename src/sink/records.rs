//! The records of one commit.

use std::sync::Arc;

use crate::epoch::{Epoch, Receipt};
use crate::record::{Record, push_bulk};
use crate::redis::resp::array;

/// The records of one commit, encoded as the commands that append them, and the messages they belong to.
#[derive(Debug)]
pub(crate) struct Records {
    form: Form,
    bytes: Vec<u8>,
    entries: Vec<Extent>,
    messages: u64,
    /// Messages among them without a record.
    skipped: u64,
    /// The epoch of the messages, if they came from a stream. All of them have the same one, or none.
    held: Option<Arc<Epoch>>,
    /// The ids that are acknowledged with the records, encoded as arguments.
    acks: Vec<u8>,
    acknowledged: usize,
    /// Whether one of the messages needs several commits.
    split: bool,
}

/// What all commits to one stream share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Form {
    /// The encoded arguments of `XADD` before the record's fields.
    prefix: Arc<[u8]>,
    size: Size,
}

/// How large commits are, and how many of them may wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Size {
    /// A commit occupies the server for about half a millisecond, so that other clients do not notice.
    #[default]
    Small,
    /// A commit occupies the server for some milliseconds, and many may wait: for a lane that has to keep up with
    /// everything that is published, while the reader goes on.
    Large,
}

impl Size {
    pub(crate) fn most_records(self) -> usize {
        match self {
            Self::Small => 256,
            Self::Large => 2048,
        }
    }

    pub(crate) fn most_bytes(self) -> usize {
        match self {
            Self::Small => Records::MOST_BYTES,
            Self::Large => 4 * Records::MOST_BYTES,
        }
    }

    /// The most commits that wait for the lanes.
    pub(crate) fn most_commits(self) -> usize {
        match self {
            Self::Small => 4,
            Self::Large => 32,
        }
    }
}

/// One of the records.
pub(crate) struct Entry<'a> {
    /// The command that appends it.
    pub(crate) command: &'a [u8],
    /// Its fields, as encoded in the command.
    pub(crate) encoded: &'a [u8],
    /// The number of its fields.
    pub(crate) fields: usize,
}

/// The lengths of an entry's parts. `u32` is enough: the server takes less than 4 GiB in one argument.
#[derive(Debug, Clone, Copy)]
struct Extent {
    command: u32,
    encoded: u32,
    fields: u32,
}

impl Form {
    /// `XADD stream *`.
    pub(crate) fn xadd(stream: &str) -> Self {
        let mut form = Vec::new();
        push_bulk(&mut form, b"XADD");
        push_bulk(&mut form, stream.as_bytes());
        push_bulk(&mut form, b"*");
        Self { prefix: form.into(), size: Size::default() }
    }

    /// Changes the size of the commits.
    pub(crate) fn sized(self, size: Size) -> Self {
        Self { size, ..self }
    }

    pub(crate) fn size(&self) -> Size {
        self.size
    }

    /// The number of arguments in `prefix`.
    const ARGUMENTS: usize = 3;
}

impl Records {
    /// The most bytes of a small commit.
    pub(crate) const MOST_BYTES: usize = 128 << 10;

    pub(crate) fn new(form: Form) -> Self {
        Self {
            form,
            bytes: Vec::new(),
            entries: Vec::new(),
            messages: 0,
            skipped: 0,
            held: None,
            acks: Vec::new(),
            acknowledged: 0,
            split: false,
        }
    }

    /// How many of these records of one message go into one commit: at least one, `None` if there are none.
    pub(crate) fn first_commit(records: &[Record]) -> Option<usize> {
        let mut bytes = 0;
        let fitting = records
            .iter()
            .take(Size::Small.most_records())
            .take_while(|record| {
                bytes += record.encoded().len();
                bytes <= Self::MOST_BYTES
            })
            .count();
        (!records.is_empty()).then_some(fitting.max(1))
    }

    /// Whether these records of one message fit in. A record that is too large for any commit goes alone.
    pub(crate) fn has_room_for(&self, records: &[Record], receipt: Option<Receipt<'_>>) -> bool {
        let bytes: usize = records.iter().map(|record| self.form.prefix.len() + record.encoded().len()).sum();
        self.is_empty()
            || (self.is_held_by(receipt.map(|receipt| receipt.epoch))
                && self.has_room(records.len(), 1, bytes))
    }

    /// Whether all of `others` fit in. A record that is too large for any commit goes alone.
    pub(crate) fn has_room_for_all(&self, others: &Records) -> bool {
        self.is_empty()
            || (self.is_held_as(others) && self.has_room(others.len(), others.acknowledged, others.bytes()))
    }

    /// Whether the messages belong to the same epoch. When an epoch ends, its messages are dropped and no
    /// others, so epochs are not mixed.
    pub(crate) fn is_held_as(&self, others: &Records) -> bool {
        self.is_held_by(others.held.as_ref())
    }

    fn is_held_by(&self, epoch: Option<&Arc<Epoch>>) -> bool {
        self.held.as_ref().map(Arc::as_ptr) == epoch.map(Arc::as_ptr)
    }

    /// Adds records of one message. `complete`: these are the last ones, so the message's receipt, if it has one, is
    /// acknowledged with them.
    pub(crate) fn push(&mut self, records: &[Record], complete: bool, receipt: Option<Receipt<'_>>) {
        if let Some(Receipt { epoch, id }) = receipt {
            self.held.get_or_insert_with(|| epoch.clone());
            if complete {
                id.push(&mut self.acks);
                self.acknowledged += 1;
            }
        }
        for record in records {
            let before = self.bytes.len();
            let encoded = record.encoded();
            self.bytes.reserve(encoded.len() + self.form.prefix.len() + 16);
            array(&mut self.bytes, Form::ARGUMENTS + 2 * record.len());
            self.bytes.extend_from_slice(&self.form.prefix);
            self.bytes.extend_from_slice(encoded);
            let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            self.entries.push(Extent {
                command: narrow(self.bytes.len() - before),
                encoded: narrow(encoded.len()),
                fields: narrow(record.len()),
            });
        }
        self.messages += u64::from(complete);
        self.skipped += u64::from(complete && records.is_empty());
    }

    /// Marks that one of the messages needs several commits, which have to be made in order.
    pub(crate) fn mark_split(&mut self) {
        self.split = true;
    }

    pub(crate) fn is_split(&self) -> bool {
        self.split
    }

    /// Moves all of `others` to the end of these.
    pub(crate) fn append(&mut self, others: &mut Records) {
        self.bytes.append(&mut others.bytes);
        self.entries.append(&mut others.entries);
        self.messages += std::mem::take(&mut others.messages);
        self.skipped += std::mem::take(&mut others.skipped);
        self.acks.append(&mut others.acks);
        self.acknowledged += std::mem::take(&mut others.acknowledged);
        let held = others.held.take();
        self.held = self.held.take().or(held);
        self.split |= std::mem::take(&mut others.split);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.acknowledged == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether anything is appended. For messages without a record, only the receipts are acknowledged.
    pub(crate) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The size of the commands in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The number of messages that the records complete.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// The number of those messages without a record.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The epoch of the messages, if they came from a stream.
    pub(crate) fn held(&self) -> Option<&Arc<Epoch>> {
        self.held.as_ref()
    }

    /// The number of entries that are acknowledged with the records.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    /// The ids of these entries, encoded as arguments.
    pub(crate) fn acks(&self) -> &[u8] {
        &self.acks
    }

    /// The concatenated commands that append the records.
    pub(crate) fn commands(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |extent| {
            let (command, after) = rest.split_at(extent.command as usize);
            rest = after;
            let encoded = &command[command.len() - extent.encoded as usize..];
            Entry { command, encoded, fields: extent.fields as usize }
        })
    }

    /// Empties it for the next commit. Keeps its memory, unless one large record made it too large.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.messages = 0;
        self.skipped = 0;
        self.held = None;
        self.acks.clear();
        self.acknowledged = 0;
        self.split = false;
        self.shrink_to(2 * self.form.size.most_bytes());
    }

    /// Frees memory beyond this many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        self.bytes.shrink_to(bytes);
    }

    fn has_room(&self, records: usize, acknowledged: usize, bytes: usize) -> bool {
        let size = self.form.size;
        self.len() + records <= size.most_records()
            && self.acknowledged + acknowledged <= size.most_records()
            && self.bytes() + bytes <= size.most_bytes()
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
        let mut records = Records::new(Form::default());
        for _ in 0..256 {
            assert!(records.has_room_for(&[record(1)], None));
            records.push(&[record(1)], true, None);
        }
        assert!(!records.has_room_for(&[record(1)], None));
        assert_eq!((records.len(), records.messages()), (256, 256));
    }

    #[test]
    fn a_large_record_goes_alone() {
        let mut records = Records::new(Form::default());
        assert!(records.has_room_for(&[record(10 << 20)], None));
        records.push(&[record(10 << 20)], true, None);
        assert!(!records.has_room_for(&[record(1)], None));
        records.clear();
        records.push(&[record(1)], true, None);
        assert!(!records.has_room_for(&[record(128 << 10)], None));
    }

    #[test]
    fn the_records_of_one_message_stay_together_and_in_order() {
        let mut records = Records::new(Form::default());
        records.push(&[record(1), record(2).field("g", "")], true, None);
        let entries: Vec<_> =
            records.iter().map(|entry| Record::of_encoded(entry.encoded, entry.fields, 0)).collect();
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

    #[test]
    fn a_record_is_kept_as_the_command_that_appends_it() {
        let mut records = Records::new(Form::xadd("s"));
        records.push(&[record(1), Record::new().field("a", "").field("b", "2")], true, None);
        let commands = [
            "*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nf\r\n$1\r\nx\r\n",
            "*7\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\na\r\n$0\r\n\r\n$1\r\nb\r\n$1\r\n2\r\n",
        ];
        assert_eq!(records.commands(), commands.concat().as_bytes());
        assert_eq!(
            records.iter().map(|entry| entry.command).collect::<Vec<_>>(),
            commands.map(str::as_bytes)
        );
    }

    #[test]
    fn records_that_are_moved_keep_their_order_and_their_count() {
        let (mut records, mut others) = (Records::new(Form::xadd("s")), Records::new(Form::xadd("s")));
        records.push(&[record(1)], true, None);
        others.push(&[record(2), record(3)], true, None);
        records.append(&mut others);
        assert!(others.is_empty() && others.messages() == 0);
        let sizes: Vec<_> = records.iter().map(|entry| entry.encoded.len()).collect();
        assert!(sizes.is_sorted() && sizes.len() == 3 && records.messages() == 2);
    }
}
