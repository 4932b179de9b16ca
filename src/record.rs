//! A record: the fields and values of one entry of the output.

use std::fmt::{self, Display};
use std::io::Write;

/// Fields and values, in order. Both may contain any bytes.
///
/// ```
/// use redis_consumer_group::Record;
///
/// let record = Record::new().field("message_id", "67e55044").field("size", 3).bytes("image", [0, 255]);
/// assert_eq!(record.text("size"), Some("3"));
/// assert_eq!(record.get("image"), Some(&[0, 255][..]));
/// ```
// Kept in the form that goes over the wire, so that a commit only copies it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record {
    encoded: Vec<u8>,
    fields: usize,
}

impl Record {
    /// An empty record. An entry needs at least one field.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty record with room for about this many bytes of fields and values.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { encoded: Vec::with_capacity(bytes), fields: 0 }
    }

    /// A record of encoded fields, with room for this many more bytes.
    pub(crate) fn of_encoded(encoded: &[u8], fields: usize, more: usize) -> Self {
        let mut record = Self { encoded: Vec::with_capacity(encoded.len() + more), fields };
        record.encoded.extend_from_slice(encoded);
        record
    }

    /// Adds a field with the text of a value: a string, a number, an id, or any other [`Display`]. It does not replace
    /// an existing field: an entry may hold a field twice.
    #[must_use]
    pub fn field(mut self, field: impl AsRef<[u8]>, value: impl Display) -> Self {
        push_bulk(&mut self.encoded, field.as_ref());
        push_text(&mut self.encoded, value);
        self.fields += 1;
        self
    }

    /// Adds a field with these bytes, which need not be text.
    #[must_use]
    pub fn bytes(mut self, field: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.push(field, value);
        self
    }

    /// Adds a field with these bytes, like [`Record::bytes`], in place.
    pub fn push(&mut self, field: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        push_bulk(&mut self.encoded, field.as_ref());
        push_bulk(&mut self.encoded, value.as_ref());
        self.fields += 1;
    }

    /// Adds a field and removes all others with the same name.
    pub(crate) fn set(&mut self, field: &str, value: impl AsRef<[u8]>) {
        if self.get(field).is_some() {
            let mut others = Self::with_capacity(self.encoded.len());
            for (name, value) in self.iter().filter(|(name, _)| *name != field.as_bytes()) {
                others.push(name, value);
            }
            *self = others;
        }
        self.push(field, value);
    }

    /// The number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether it has no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    /// The value of the first field with this name.
    #[must_use]
    pub fn get(&self, field: impl AsRef<[u8]>) -> Option<&[u8]> {
        self.iter().find(|(name, _)| *name == field.as_ref()).map(|(_, value)| value)
    }

    /// The value of the first field with this name, if it is UTF-8 text.
    #[must_use]
    pub fn text(&self, field: impl AsRef<[u8]>) -> Option<&str> {
        std::str::from_utf8(self.get(field)?).ok()
    }

    /// Fields and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        fields(&self.encoded, self.fields)
    }

    /// The arguments of `XADD` after the entry's id: `$len\r\nbytes\r\n` for each field and each value.
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }
}

impl<F: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(F, V)> for Record {
    fn from_iter<I: IntoIterator<Item = (F, V)>>(fields: I) -> Self {
        let mut record = Self::new();
        record.extend(fields);
        record
    }
}

impl<F: AsRef<[u8]>, V: AsRef<[u8]>> Extend<(F, V)> for Record {
    fn extend<I: IntoIterator<Item = (F, V)>>(&mut self, fields: I) {
        for (field, value) in fields {
            self.push(field, value);
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        f.debug_map().entries(self.iter().map(|(field, value)| (text(field), text(value)))).finish()
    }
}

/// The most bytes that [`push_bulk`] writes for a value of this length.
pub(crate) fn bulk_bytes(len: usize) -> usize {
    // 20 digits, $, and two line ends; for short values two digits.
    if len < 100 { len + 7 } else { len + 25 }
}

/// Writes one argument of a command: `$len\r\nbytes\r\n`.
pub(crate) fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |n: usize| b'0' + n as u8;
    match bytes.len() {
        // Nearly all lengths are this short, and a message has several.
        len @ 0..10 => out.extend_from_slice(&[b'$', digit(len), b'\r', b'\n']),
        len @ 10..100 => out.extend_from_slice(&[b'$', digit(len / 10), digit(len % 10), b'\r', b'\n']),
        len => {
            out.push(b'$');
            out.extend_from_slice(itoa::Buffer::new().format(len).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Writes the text of a value as one argument, like [`push_bulk`], without an intermediate copy.
fn push_text(out: &mut Vec<u8>, value: impl Display) {
    // The length comes first but is known last: reserve two digits, which are enough for most lengths.
    let digits = out.len() + 1;
    out.extend_from_slice(b"$00\r\n");
    let start = out.len();
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
    let len = out.len() - start;
    out.extend_from_slice(b"\r\n");
    if (10..100).contains(&len) {
        out[digits] = b'0' + (len / 10) as u8;
        out[digits + 1] = b'0' + (len % 10) as u8;
    } else {
        out.splice(digits..digits + 2, itoa::Buffer::new().format(len).bytes());
    }
}

/// Fields and values of a record in its encoded form, in order.
pub(crate) fn fields(encoded: &[u8], count: usize) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    let mut rest = encoded;
    (0..count).map(move |_| (next_bulk(&mut rest), next_bulk(&mut rest)))
}

/// Reads back what [`push_bulk`] wrote.
fn next_bulk<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let digits = rest.iter().skip(1).take_while(|byte| byte.is_ascii_digit());
    let (count, len) =
        digits.fold((0, 0), |(count, len), digit| (count + 1, len * 10 + usize::from(digit - b'0')));
    let (bytes, after) = rest[count + 3..].split_at(len);
    *rest = &after[2..];
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_in_the_order_they_were_added() {
        let record =
            Record::new().field("a", "1").field("", "").bytes(b"\r\n$3\r\n", [0, 255]).field("a", "2");
        let fields: Vec<_> = record.iter().collect();
        assert_eq!(fields, [(&b"a"[..], &b"1"[..]), (b"", b""), (b"\r\n$3\r\n", &[0, 255]), (b"a", b"2")]);
        assert_eq!(record.len(), 4);
        assert_eq!(record.get("a"), Some(&b"1"[..]));
        assert_eq!(record.get("b"), None);
    }

    #[test]
    fn a_text_of_any_length_is_encoded_like_its_bytes() {
        for len in [0, 1, 9, 10, 11, 99, 100, 101, 12_345] {
            let text = "é".repeat(len / 2) + &"x".repeat(len % 2);
            let (shown, bytes) = (Record::new().field("f", &text), Record::new().bytes("f", &text));
            assert_eq!(shown.field("n", 1), bytes.bytes("n", "1"), "{len}");
        }
    }

    #[test]
    fn a_field_takes_whatever_can_be_displayed() {
        let id = uuid::Uuid::nil();
        let record = Record::new().field("n", -1.5).field("b", true).field("id", id).field("c", 'é');
        assert_eq!(
            (record.text("n"), record.text("b"), record.text("c")),
            (Some("-1.5"), Some("true"), Some("é"))
        );
        assert_eq!(record.text("id"), Some("00000000-0000-0000-0000-000000000000"));
    }

    #[test]
    fn it_is_encoded_as_the_arguments_of_a_command() {
        let record: Record = [("field", "a value of 12"), ("n", "")].into_iter().collect();
        assert_eq!(record.encoded(), b"$5\r\nfield\r\n$13\r\na value of 12\r\n$1\r\nn\r\n$0\r\n\r\n");
    }
}
