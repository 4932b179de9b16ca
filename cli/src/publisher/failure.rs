//! Why publishing ended early, and what to tell the user about it.

use std::io;

use anyhow::anyhow;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use redis_consumer_group::Error;

use super::target::{Target, To};

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server refused a message for this name.
    #[error("{name}: {error}")]
    Refused { name: String, error: RedisError },
    /// A connection cannot be reopened, and waiting does not help.
    #[error(transparent)]
    Lost(#[from] Error),
    /// The message with this number lacks the member that decides its shard.
    #[error(
        "message {number} is not a JSON object with a member {member:?}; add it, or publish without --shard-by"
    )]
    NoMember { number: u64, member: String },
    /// The messages could not be read.
    #[error("{0}")]
    Input(String),
    /// The thread for an even rate could not be started.
    #[error("cannot start a thread that keeps the rate: {0}; leave out --rate, or raise the thread limit")]
    Thread(io::Error),
}

/// Explains a failure: which server refused what, and what to try next. The kind of the error decides the exit code.
pub(crate) fn explain(address: &str, target: &Target, failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Refused { name, error } => refusal(address, target, name, &error),
        Failure::Lost(error) => error.into(),
        failure => failure.into(),
    }
}

/// Explains why the server refused a message to this name.
fn refusal(address: &str, target: &Target, name: String, error: &RedisError) -> anyhow::Error {
    let address = address.to_owned();
    let answer = answer(error);
    if let Some(try_next) = error.code().and_then(writes_again_when) {
        let what = if target.to == To::Stream { "append" } else { "publish" };
        return anyhow!("Redis at {address} did not {what} to {name}: {answer}; {try_next}");
    }
    let explained = match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => not_permitted(address, target, &name, answer),
        ErrorKind::AuthenticationFailed => Error::Refused {
            address,
            what: "the login".to_owned(),
            answer,
            try_next: "check user and password".to_owned(),
        },
        _ if error.code() == Some("NOAUTH") => Error::Refused {
            address,
            what: "to publish".to_owned(),
            answer,
            try_next: "put a password in the URL, like redis://:PASSWORD@host".to_owned(),
        },
        // Only an append gets this answer: a channel is not a key and has no type.
        _ if error.code() == Some("WRONGTYPE") => Error::WrongType {
            key: name,
            found: format!("value of another type ({answer})"),
            needed: "stream",
            option: "channel",
        },
        _ if matches!(error.code(), Some("CLUSTERDOWN" | "MASTERDOWN")) => Error::NotReady {
            address,
            cause: format!("{answer} (for {name})"),
            try_next:
                "find out which nodes are missing with redis-cli --cluster check and the address of a node"
                    .to_owned(),
        },
        _ => Error::Protocol { address, what: target.command(), answer },
    };
    explained.into()
}

fn not_permitted(address: String, target: &Target, name: &str, answer: String) -> Error {
    let what = match target.to {
        To::Channel => format!("to publish to the channel {name}"),
        To::Stream => format!("to append to the stream {name}"),
    };
    let sign = if target.to == To::Channel { '&' } else { '~' };
    let rule = format!("+{} {sign}{name}", target.command().to_lowercase());
    Error::Refused { address, what, answer, try_next: format!("give the user the rule `{rule}`") }
}

/// What makes a server accept writes again, by the code of its answer. A PUBLISH is not a write and never gets these
/// answers.
fn writes_again_when(code: &str) -> Option<&'static str> {
    match code {
        "OOM" => Some("raise its maxmemory, or publish fewer messages (the stream keeps them all)"),
        "READONLY" => Some("it is a replica; give the address of its primary"),
        "MOVED" | "ASK" => Some(
            "it is at another node of the cluster; give the address of that one, or the user the rule `+cluster|slots`",
        ),
        "MISCONF" | "NOREPLICAS" => Some("fix what it names; its log says more"),
        _ => None,
    }
}

/// The server's own words, if the error came from the server.
pub(super) fn answer(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
