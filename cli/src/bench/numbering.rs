//! The ids of the messages of one run: UUIDs that contain the run and the message's number.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Converts the number of a message to its id, and back.
///
/// The last 48 bits are the number. The others identify the run, so that entries of another run are recognized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbering {
    run: [u8; Hyphenated::LENGTH],
}

impl Numbering {
    /// The digits of the number at the end of an id.
    pub(crate) const DIGITS: usize = 12;

    /// For a new run.
    pub(crate) fn new() -> Self {
        Self::of(Uuid::new_v4())
    }

    /// For the run of this id.
    pub(crate) fn of(id: Uuid) -> Self {
        let mut run = [0; Hyphenated::LENGTH];
        id.as_hyphenated().encode_lower(&mut run);
        write_number(&mut run, 0);
        Self { run }
    }

    /// The id of the message with this number, below 2⁴⁸.
    pub(crate) fn id(&self, number: u64) -> Uuid {
        let mut text = self.run;
        write_number(&mut text, number);
        Uuid::try_parse_ascii(&text).unwrap_or_default()
    }

    /// The number of the message with this id, if it is of this run.
    pub(crate) fn number(&self, id: &[u8]) -> Option<u64> {
        const AT: usize = Hyphenated::LENGTH - Numbering::DIGITS;
        if id.len() != Hyphenated::LENGTH || id[..AT] != self.run[..AT] {
            return None;
        }
        id[AT..].iter().try_fold(0, |number, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(number << 4 | u64::from(digit))
        })
    }
}

/// Writes the number over the end of an id.
pub(crate) fn write_number(id: &mut [u8], mut number: u64) {
    for digit in id.iter_mut().rev().take(Numbering::DIGITS) {
        *digit = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_contains_the_number_of_its_message() {
        let numbering = Numbering::new();
        for number in [0, 1, 15, 16, 999_999, (1 << 48) - 1] {
            let id = numbering.id(number);
            assert_eq!(id.get_version_num(), 4);
            assert_eq!(numbering.number(id.to_string().as_bytes()), Some(number));
            assert_eq!(Numbering::of(id), numbering, "all ids of a run identify it");
        }
    }

    #[test]
    fn an_id_of_another_run_has_no_number() {
        let numbering = Numbering::new();
        assert_eq!(numbering.number(Numbering::new().id(1).to_string().as_bytes()), None);
        assert_eq!(numbering.number(b""), None);
        let mut id = numbering.id(1).to_string();
        id.replace_range(35.., "g");
        assert_eq!(numbering.number(id.as_bytes()), None);
    }
}
