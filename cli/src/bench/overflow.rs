//! What happens to a message when the buffer is full.

use serde::{Deserialize, Serialize};

/// The overflow of the measured group. The first line of each is its help.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overflow {
    /// Drop it. A run that drops a message fails
    #[default]
    Drop,
    /// Move it to a stream until there is room. Measures the time until a whole burst is in the output
    Spill,
}
