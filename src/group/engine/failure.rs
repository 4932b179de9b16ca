//! The error that a group ends with.

use tokio::task::JoinError;

use crate::error::Error;

/// The first error, replaced by a later one only if the later one asks the user to act and the first does not.
#[derive(Default)]
pub(in crate::group) struct Failure(pub(in crate::group) Option<Error>);

impl Failure {
    pub(in crate::group) fn note(&mut self, end: Result<Result<(), Error>, JoinError>) {
        let error = match end {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(end) if end.is_cancelled() => Error::System {
                what: "the runtime that the consumers run on was shut down before the group",
                source: std::io::Error::other(end),
            },
            Err(panic) => Error::System {
                what: "a task of the group failed because of a bug in redis-consumer-group; please report it",
                source: std::io::Error::other(panic),
            },
        };
        tracing::debug!("a task of the group failed: {error}");
        if self.0.as_ref().is_none_or(|first| !asks_for_action(first) && asks_for_action(&error)) {
            self.0 = Some(error);
        }
    }
}

fn asks_for_action(error: &Error) -> bool {
    matches!(
        error,
        Error::Config { .. } | Error::Refused { .. } | Error::Ids { .. } | Error::WrongType { .. }
    )
}
