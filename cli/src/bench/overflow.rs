//! What becomes of a message that finds the buffer full.

use serde::{Deserialize, Serialize};

/// The overflow of the group under test. The first line of each is the help.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overflow {
    /// It is dropped, and a run in which that happens has failed
    #[default]
    Drop,
    /// It goes into a stream until there is room; measured is a burst, until all of it is in the output
    Spill,
}
