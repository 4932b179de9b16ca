//! The errors of a group, grouped by who has to act.

use std::io;
use std::path::PathBuf;

use crate::address::AddressError;

/// Why a group did not start, or ended. Each text says what failed, why, and what to try next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has an invalid value.
    #[error("{option}: {problem}")]
    Config {
        /// The option's name, as in the program without the dashes.
        option: &'static str,
        /// What is wrong, and what to try.
        problem: String,
    },

    /// The address of the server is not valid.
    #[error("url: {0}")]
    Address(#[from] AddressError),

    /// A file that an option names cannot be used.
    #[error("{option}: cannot read {path}: {source}; check the path and its permissions", path = path.display())]
    File {
        /// The option's name.
        option: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },

    /// Redis did not answer when the group started.
    #[error("Redis at {address} is not reachable: {cause}; {try_next}")]
    Unreachable {
        /// The server's address, without its password.
        address: String,
        /// The error of the last attempt.
        cause: String,
        /// What to try.
        try_next: String,
    },

    /// Redis answered when the group started, but is not ready: it is loading its data, is short of memory, or is a
    /// read-only replica.
    #[error("Redis at {address} is not ready: {cause}; {try_next}")]
    NotReady {
        /// The server's address, without its password.
        address: String,
        /// The server's answer.
        cause: String,
        /// What to try.
        try_next: String,
    },

    /// Redis refused access: password, user or permissions.
    #[error("Redis at {address} refused {what}: {answer}; {try_next}")]
    Refused {
        /// The server's address, without its password.
        address: String,
        /// What was refused.
        what: String,
        /// The server's answer.
        answer: String,
        /// What to try.
        try_next: String,
    },

    /// Another process is replaying these rejected messages.
    #[error("another process is replaying {key}; wait until it ends")]
    Replaying {
        /// The stream of rejected messages.
        key: String,
    },

    /// Redis refused a command that the ids of the consumers need.
    #[error("at {address}: {source}")]
    Ids {
        /// The server's address, without its password.
        address: String,
        /// What was refused, and what to grant.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A key holds a value of the wrong type.
    #[error(
        "the key {key} holds a {found}, but the group needs a {needed} there; rename the key, or choose another name ({option})"
    )]
    WrongType {
        /// The key.
        key: String,
        /// Its type, as the server names it.
        found: String,
        /// The type that the group needs.
        needed: &'static str,
        /// The option that names this key.
        option: &'static str,
    },

    /// Redis gave an unexpected answer.
    #[error(
        "Redis at {address} answered {what} with {answer:?}; check that it is Redis 7.0 or later, or Valkey"
    )]
    Protocol {
        /// The server's address, without its password.
        address: String,
        /// The request.
        what: &'static str,
        /// The answer, shortened.
        answer: String,
    },

    /// The operating system refused something that the group needs.
    #[error("{what}: {source}")]
    System {
        /// What failed.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Refuses an option whose value is not valid.
pub(crate) fn check(
    option: &'static str,
    holds: bool,
    problem: impl FnOnce() -> String,
) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Config { option, problem: problem() }) }
}
