//! The ids of the messages of one run: UUIDs that say which message of which run it is.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// Gives each message of a run an id, and tells the message from the id.
///
/// The last 48 bits are the message's number; all others are the run's, so that what another run has left
/// behind is not taken for ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbering {
    run: [u8; Hyphenated::LENGTH],
}

impl Numbering {
    /// How many digits at the end of an id are the number.
    pub(crate) const DIGITS: usize = 12;

    /// For a new run.
    pub(crate) fn new() -> Self {
        Self::of(Uuid::new_v4())
    }

    /// For the run that this id is of.
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

    /// The number of the message with this id, if it is one of this run.
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
    fn the_number_of_a_message_is_read_back_from_its_id() {
        let numbering = Numbering::new();
        for number in [0, 1, 15, 16, 999_999, (1 << 48) - 1] {
            let id = numbering.id(number);
            assert_eq!(id.get_version_num(), 4);
            assert_eq!(numbering.number(id.to_string().as_bytes()), Some(number));
            assert_eq!(Numbering::of(id), numbering, "all ids of a run tell the run");
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
