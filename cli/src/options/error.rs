//! Errors of options, with the origin of the value.

use std::fmt;
use std::path::PathBuf;

/// An option with an invalid value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub(crate) struct OptionError {
    pub(crate) origin: Origin,
    pub(crate) problem: String,
}

/// The origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The flag of this option.
    Flag(&'static str),
    /// The variable with this name.
    Variable(String),
    /// A variable of other programs, used if ours is not set.
    Fallback(&'static str),
    /// A line of the file, and the key there.
    File { path: PathBuf, line: usize, key: String },
}

impl OptionError {
    /// Whether the command line is wrong, not a variable or the file.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self.origin, Origin::Flag(_))
    }
}

impl Origin {
    /// The origin with the higher rank wins.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Flag(_) => 3,
            Self::Variable(_) => 2,
            Self::Fallback(_) => 1,
            Self::File { .. } => 0,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Variable(name) => f.write_str(name),
            Self::Fallback(name) => f.write_str(name),
            Self::File { path, line, key } if key.is_empty() => write!(f, "{}, line {line}", path.display()),
            Self::File { path, line, key } => write!(f, "{}, line {line}: {key}", path.display()),
        }
    }
}
