//! Confirmed appends, for hooks.

use crate::record;
use crate::sink::Records;

/// One commit whose records are confirmed to be in the output. See
/// [`Builder::on_append`](crate::Builder::on_append).
#[derive(Debug)]
pub struct Appended<'a>(&'a Records);

impl<'a> Appended<'a> {
    pub(crate) fn new(records: &'a Records) -> Self {
        Self(records)
    }

    /// The number of records, at most 256.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is no commit without a record")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The fields and values of each record, in the order of the stream.
    pub fn records(&self) -> impl Iterator<Item = impl Iterator<Item = (&'a [u8], &'a [u8])>> {
        self.0.iter().map(|entry| record::fields(entry.encoded, entry.fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;
    use crate::sink::Form;

    #[test]
    fn the_records_are_told_with_their_fields_in_order() {
        let mut records = Records::new(Form::default());
        records.push(
            &[Record::new().field("a", "1").field("b", ""), Record::new().field("c", "3")],
            true,
            None,
        );
        let appended = Appended::new(&records);
        let read: Vec<Vec<_>> = appended.records().map(Iterator::collect).collect();
        assert_eq!(read, [vec![(&b"a"[..], &b"1"[..]), (b"b", b"")], vec![(b"c", b"3")]]);
        assert_eq!(appended.len(), 2);
    }
}
