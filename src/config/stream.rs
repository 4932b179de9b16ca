//! What concerns a stream that is read: the input, or the spill.

use std::time::Duration;

use super::{Commit, Config, Overflow};
use crate::entry_id::EntryId;
use crate::error::{Error, check};

/// What only concerns the source `stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInput {
    /// The stream's consumer group, which is created if it is missing. Default: `processors`.
    pub group: String,
    /// Where a group begins that is created. Default: [`Begin::Beginning`].
    pub from: Begin,
    /// An entry with this one field holds its whole payload in it: a JSON object for the default processor. Default:
    /// `payload`.
    pub payload_field: String,
    /// Whether records get a field `source_id` with the id of the entry that they were made of. Default: no.
    pub with_source_id: bool,
    /// Takes entries over from consumers of the group that are not ours, once those have not touched them for so long.
    /// Default: never.
    pub claim_foreign_after: Option<Duration>,
    /// What becomes of entries of the input that are done. Default: [`Trim::Never`].
    pub trim: Trim,
}

/// Where a stream's consumer group begins when it is created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begin {
    /// With the oldest entry that is there.
    #[default]
    Beginning,
    /// With what is appended from then on.
    New,
    /// With the entry after this one.
    After(EntryId),
}

/// What becomes of entries of the input that are done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trim {
    /// They stay. Whoever appends them may trim the stream.
    #[default]
    Never,
    /// They are removed once every group of the stream has acknowledged them. What stands before the beginning of a
    /// group counts as done for it, so ours has to begin with [`Begin::Beginning`].
    Acknowledged,
}

impl Default for StreamInput {
    fn default() -> Self {
        Self {
            group: "processors".to_owned(),
            from: Begin::default(),
            payload_field: "payload".to_owned(),
            with_source_id: false,
            claim_foreign_after: None,
            trim: Trim::default(),
        }
    }
}

impl Config {
    pub(super) fn validate_stream(&self) -> Result<(), Error> {
        let is_stream = !self.source.is_channel();
        check("overflow", !(is_stream && self.overflow == Overflow::Spill), || {
            "a stream needs no spill: what is not read yet waits in it; leave the overflow out".into()
        })?;
        check("spill-key", self.spill_key.as_ref().is_none_or(|name| !name.is_empty()), || {
            "the name is empty; give one".into()
        })?;
        check("spill-max", self.spill_max >= 1, || {
            "a spill of 0 messages takes none; take 1 or more, or choose the overflow drop".into()
        })?;
        check("overflow", self.spill().is_none() || self.commit == Commit::Atomic, || {
            "what was spilled is moved by atomic commits; leave the commit at atomic, or choose the overflow drop"
                .into()
        })?;
        check("group", !self.stream.group.is_empty(), || "the name is empty; give one".into())?;
        check("payload-field", !self.stream.payload_field.is_empty(), || {
            "the name is empty; give one".into()
        })?;
        let trims_unread = self.stream.trim == Trim::Acknowledged && self.stream.from != Begin::Beginning;
        check("trim", !trims_unread, || {
            "a group that does not begin with the oldest entry never acknowledges those before, and they would be \
             removed unread; leave from at beginning"
                .into()
        })?;
        let foreign = self.stream.claim_foreign_after;
        check("claim-foreign-after", foreign.is_none_or(|idle| idle >= Duration::from_secs(1)), || {
            "nobody is idle after less than 1s; take 60s".into()
        })
    }
}
