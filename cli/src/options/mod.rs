//! The options: each is a flag, a variable and a key of the file, and is described once.
//!
//! ```text
//!   table    one row per option: name, default, help, and what it sets
//!     │
//!   flags ──► layers ◄── variables, file      which text takes effect, and its origin
//!                │
//!            settings                         the texts become values, and are checked together
//! ```
mod effect;
mod error;
mod file;
mod flags;
mod layers;
#[cfg(test)]
mod markdown;
mod names;
mod option;
mod settings;
mod table;
mod value;
mod variables;

pub(crate) use error::{OptionError, Origin};
pub(crate) use flags::{Flags, Selection};
pub(crate) use option::Group;
pub(crate) use settings::{Log, LogFormat, Settings};
pub(crate) use table::{COMMON, CONNECTION, IDS, REJECTED, REPLAY, RUN};
pub(crate) use value::{duration, positive_duration, size};
