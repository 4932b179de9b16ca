//! Compares the messages that were sent with the output, id by id.

use std::collections::HashMap;

use super::Entry;

/// The faults of an output. All three are empty if it is correct.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Sent, but not in the output.
    pub(crate) lost: Vec<String>,
    /// In the output more than once.
    pub(crate) doubled: Vec<String>,
    /// In the output, but never sent.
    pub(crate) strange: Vec<String>,
}

/// Compares the ids of messages that were sent with the field `message_id` of the entries.
pub(crate) fn judge<'a>(sent: &[String], entries: impl IntoIterator<Item = &'a Entry>) -> Judgement {
    let mut found: HashMap<&str, u32> = sent.iter().map(|id| (id.as_str(), 0)).collect();
    let mut judgement = Judgement::default();
    for entry in entries {
        let id = entry.text("message_id").unwrap_or("(no message_id)");
        match found.get_mut(id) {
            None => judgement.strange.push(id.to_owned()),
            Some(count) => {
                *count += 1;
                if *count == 2 {
                    judgement.doubled.push(id.to_owned());
                }
            }
        }
    }
    judgement.lost = sent.iter().filter(|id| found[id.as_str()] == 0).cloned().collect();
    judgement
}

impl Judgement {
    /// Fails the test unless every message is in the output once, and nothing else is.
    pub(crate) fn assert_flawless(&self) {
        let Self { lost, doubled, strange } = self;
        assert!(
            *self == Self::default(),
            "{} lost, {} doubled, {} strange; the first ones: {:?} {:?} {:?}",
            lost.len(),
            doubled.len(),
            strange.len(),
            lost.first(),
            doubled.first(),
            strange.first()
        );
    }
}
