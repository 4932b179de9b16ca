//! The entries of a stream behind the messages of a batch, and where they came from.

use std::sync::Arc;

use crate::entry_id::EntryId;
use crate::epoch::Epoch;

/// The stream entries behind the messages of a batch.
#[derive(Clone)]
pub(crate) struct Entries {
    /// The epoch in which they were read.
    pub(crate) epoch: Arc<Epoch>,
    pub(crate) origin: Origin,
    /// One for each span.
    pub(crate) list: Vec<Entry>,
}

/// One entry of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    /// The number of fields in its span, encoded as in a [`Record`](crate::Record). 0 when the span is the payload
    /// itself.
    pub(crate) fields: u32,
}

/// Where the messages of a stream came from.
#[derive(Clone)]
pub(crate) enum Origin {
    /// The stream is the input: other programs append to it. The name is that of the field that may hold the whole
    /// payload.
    Input(Arc<str>),
    /// The messages came from the channel, found the buffer full and were spilled: the entry holds the published
    /// payload.
    Spill,
    /// The stream is that of rejected messages, which are processed again.
    Rejected(Arc<Earlier>),
}

/// The history of a rejected message.
pub(crate) struct Earlier {
    /// The name of the field that may hold the whole payload, if the message was an entry of a stream.
    pub(crate) payload_field: Arc<str>,
    /// Its id in that stream.
    pub(crate) source_id: Option<EntryId>,
    pub(crate) attempts: u32,
}

impl Origin {
    /// The field that holds the whole payload if it is the only field of an entry. `None`: any field does.
    pub(crate) fn payload_field(&self) -> Option<&[u8]> {
        match self {
            Self::Input(name) => Some(name.as_bytes()),
            Self::Spill => None,
            // A rejected message never has one field only: the fields with the reason follow.
            Self::Rejected(_) => Some(b""),
        }
    }
}
