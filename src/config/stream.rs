//! Settings of a stream that is read: the input, or the spill.

use std::time::Duration;

use super::{Commit, Config, Overflow};
use crate::entry_id::EntryId;
use crate::error::{Error, check};

/// Settings of the source `stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamInput {
    /// The stream's consumer group. It is created if it is missing. Default: `processors`.
    pub group: String,
    /// Where the consumer group begins if it is created. Default: [`Begin::Beginning`].
    pub begin_at: Begin,
    /// The field whose value is [`Message::payload`](crate::Message::payload). If it is the entry's only field, the
    /// default processor reads it as a JSON object; otherwise that processor copies the entry's fields. Default:
    /// `payload`.
    pub payload_field: String,
    /// Whether each record gets a field `source_id` with the id of the entry that it was made from. Default: no.
    pub with_source_id: bool,
    /// After how long idle entries are taken over from consumers of the group that do not belong to this library: at
    /// least 1 s. Default: never.
    pub claim_foreign_after: Option<Duration>,
    /// When acknowledged entries are removed from the input. Default: [`Trim::Never`].
    pub trim: Trim,
}

/// Where a stream's consumer group begins when it is created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Begin {
    /// With the oldest entry in the stream.
    #[default]
    Beginning,
    /// With the next entry that is appended.
    New,
    /// With the first entry after this id.
    After(EntryId),
}

/// When acknowledged entries are removed from the input.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trim {
    /// They stay. The producer may trim the stream.
    #[default]
    Never,
    /// They are removed after every group of the stream has acknowledged them. Entries before the start of a group
    /// count as acknowledged by it, so this group has to begin with [`Begin::Beginning`].
    Acknowledged,
}

impl Default for StreamInput {
    fn default() -> Self {
        Self {
            group: "processors".to_owned(),
            begin_at: Begin::default(),
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
            "a stream does not need a spill: unread entries wait in it; remove overflow".into()
        })?;
        check("spill-key", self.spill_key.as_ref().is_none_or(|name| !name.is_empty()), || {
            "the name is empty; give one".into()
        })?;
        check("spill-max", self.spill_max >= 1, || {
            "a spill of 0 messages takes none; use 1 or more, or set overflow to drop".into()
        })?;
        check("overflow", self.spill().is_none() || self.commit == Commit::Atomic, || {
            "a spill needs atomic commits; set commit to atomic, or overflow to drop".into()
        })?;
        check("group", !self.stream.group.is_empty(), || "the name is empty; give one".into())?;
        check("payload-field", !self.stream.payload_field.is_empty(), || {
            "the name is empty; give one".into()
        })?;
        let trims_unread = self.stream.trim == Trim::Acknowledged && self.stream.begin_at != Begin::Beginning;
        check("trim", !trims_unread, || {
            "a group that does not begin with the oldest entry never acknowledges those before, and they would be \
             removed unread; set from to beginning"
                .into()
        })?;
        let foreign = self.stream.claim_foreign_after;
        check("claim-foreign-after", foreign.is_none_or(|idle| idle >= Duration::from_secs(1)), || {
            "consumers idle for less than 1s may still be working; use 1s or more".into()
        })
    }
}
