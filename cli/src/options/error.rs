//! What is wrong with an option, and where its value came from.

use std::fmt;
use std::path::PathBuf;

/// An option that cannot work.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {problem}")]
pub(crate) struct OptionError {
    pub(crate) origin: Origin,
    pub(crate) problem: String,
}

/// Where the text of a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The flag of this option.
    Flag(&'static str),
    /// The variable with this name.
    Variable(String),
    /// A variable with a name that is not ours.
    Fallback(&'static str),
    /// A line of the file, and the key there.
    File { path: PathBuf, line: usize, key: String },
}

impl OptionError {
    /// Whether it is the call of the program that has to be changed, and no variable or file.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self.origin, Origin::Flag(_))
    }
}

impl Origin {
    /// The higher one counts.
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
