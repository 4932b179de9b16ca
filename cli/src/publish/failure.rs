//! What an error of the client means to who publishes.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use redis_consumer_group::Error;

/// The error in the words of the program: who refused what, and what to try next. Its kind decides the exit
/// code.
pub(crate) fn explain(address: &str, channel: &str, error: &RedisError) -> Error {
    let address = address.to_owned();
    let answer = answer(error);
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => Error::Refused {
            address,
            what: format!("to publish to the channel {channel}"),
            answer,
            try_next: format!("give the user the rule `+publish &{channel}`"),
        },
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
            try_next: "put a password into the URL, like redis://:PASSWORD@host".to_owned(),
        },
        ErrorKind::Io => Error::Unreachable {
            address,
            cause: error.to_string(),
            try_next:
                "check that the server runs there, and that it did not cut the connection (its log says so)"
                    .to_owned(),
        },
        _ => Error::Protocol { address, what: "PUBLISH", answer },
    }
}

/// The server's own words, where it was the server.
fn answer(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}
