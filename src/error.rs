//! What can go wrong with a group, in the terms of who has to repair it.

use std::io;
use std::path::PathBuf;

use crate::address::AddressError;

/// Why a group did not start, or ended. Every text says what it was, why, and what to try next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option has a value that cannot work.
    #[error("{option}: {problem}")]
    Config {
        /// The option's name, as the program spells it without the dashes.
        option: &'static str,
        /// What is wrong, and what to try.
        problem: String,
    },

    /// The address of the server cannot be read.
    #[error("url: {0}")]
    Address(#[from] AddressError),

    /// A file that an option names cannot be used.
    #[error("{option}: cannot read {path}: {source}; check the path and its permissions", path = path.display())]
    File {
        /// The option's name.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Redis did not answer when the group started.
    #[error("Redis at {address} is not reachable: {cause}; {try_next}")]
    Unreachable {
        /// The server's address, without its password.
        address: String,
        /// What the last attempt ended with.
        cause: String,
        /// What to try.
        try_next: String,
    },

    /// Redis answered when the group started, but cannot serve yet: it loads its data, is short of memory, or is a
    /// read-only replica.
    #[error("Redis at {address} is not ready: {cause}; {try_next}")]
    NotReady {
        /// The server's address, without its password.
        address: String,
        /// The server's own words.
        cause: String,
        /// What to try.
        try_next: String,
    },

    /// Redis refused us: password, user or permissions.
    #[error("Redis at {address} refused {what}: {answer}; {try_next}")]
    Refused {
        /// The server's address, without its password.
        address: String,
        /// What was refused.
        what: String,
        /// The server's own words.
        answer: String,
        /// What to try.
        try_next: String,
    },

    /// Another process replays these rejected messages.
    #[error("another process replays {key}; wait for its end")]
    Replaying {
        /// The stream of rejected messages.
        key: String,
    },

    /// Redis refused what the ids of the consumers need.
    #[error("at {address}: {source}")]
    Ids {
        /// The server's address, without its password.
        address: String,
        /// What was refused, and what to grant.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// A key holds something else than it must.
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

    /// Redis answered something that makes no sense at this place.
    #[error(
        "Redis at {address} answered {what} with {answer:?}; check that it is Redis 7.0 or later, or Valkey"
    )]
    Protocol {
        /// The server's address, without its password.
        address: String,
        /// What was asked.
        what: &'static str,
        /// What it answered, shortened.
        answer: String,
    },

    /// The operating system refused something that the group needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Refuses an option whose value does not hold what it must.
pub(crate) fn check(
    option: &'static str,
    holds: bool,
    problem: impl FnOnce() -> String,
) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Config { option, problem: problem() }) }
}
