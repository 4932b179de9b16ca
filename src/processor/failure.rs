//! Converts the errors of a processor into failures, and decides which of them are retried.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::num::{ParseFloatError, ParseIntError};
use std::str::Utf8Error;
use std::string::FromUtf8Error;

use super::{Failure, RecordError};
use crate::message::PayloadError;

impl Failure {
    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::TryAgain(reason) | Self::TryAfter { reason, .. } | Self::Reject(reason) => reason,
        }
    }

    /// The same failure with a more detailed reason.
    fn because(&self, reason: String) -> Self {
        match self {
            Self::TryAgain(_) => Self::TryAgain(reason),
            Self::TryAfter { delay, .. } => Self::TryAfter { reason, delay: *delay },
            Self::Reject(_) => Self::Reject(reason),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// Lets a failure be returned inside an `anyhow::Error` or a boxed error, which keep its kind.
impl Error for Failure {}

/// The text of the error and its causes: the reader of the reason sees nothing else.
pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut reason = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some errors repeat their cause in their own text.
        if !reason.ends_with(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        cause = error.source();
    }
    reason
}

/// The errors that `?` converts, and their meaning inside an error that can hold any.
///
/// Not a blanket impl: it would forbid an application to convert its own error.
macro_rules! conversions {
    (reject: $($rejected:ty),*; try again: $($passing:ty),*) => {
        $(impl From<$rejected> for Failure {
            fn from(error: $rejected) -> Self {
                Self::Reject(with_causes(&error))
            }
        })*

        $(impl From<$passing> for Failure {
            fn from(error: $passing) -> Self {
                Self::TryAgain(with_causes(&error))
            }
        })*

        impl From<Box<dyn Error + Send + Sync>> for Failure {
            fn from(error: Box<dyn Error + Send + Sync>) -> Self {
                let reason = with_causes(&*error);
                match error.downcast_ref::<Self>() {
                    Some(failure) => failure.because(reason),
                    None if $(error.is::<$rejected>())||* => Self::Reject(reason),
                    None => Self::TryAgain(reason),
                }
            }
        }

        #[cfg(feature = "anyhow")]
        impl From<anyhow::Error> for Failure {
            fn from(error: anyhow::Error) -> Self {
                let reason = with_causes(&*error);
                // The `downcast_ref` of anyhow, which also finds errors behind an added context.
                match error.downcast_ref::<Self>() {
                    Some(failure) => failure.because(reason),
                    None if $(error.is::<$rejected>())||* => Self::Reject(reason),
                    None => Self::TryAgain(reason),
                }
            }
        }
    };
}

conversions! {
    reject: PayloadError, RecordError, serde_json::Error, Utf8Error, FromUtf8Error, ParseIntError, ParseFloatError;
    try again: std::io::Error, tokio::time::error::Elapsed, tokio::sync::AcquireError, tokio::task::JoinError
}

impl From<Infallible> for Failure {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no answer from the shop")]
    struct Shop(#[source] io::Error);

    fn shop() -> Shop {
        Shop(io::Error::other("connection refused"))
    }

    const REASON: &str = "no answer from the shop: connection refused";

    #[test]
    fn a_reason_holds_the_error_and_its_causes() {
        assert_eq!(Failure::try_again(shop()), Failure::TryAgain(REASON.into()));
        assert_eq!(Failure::reject(shop()), Failure::Reject(REASON.into()));
        assert_eq!(Failure::reject("no such customer"), Failure::Reject("no such customer".into()));
        assert_eq!(Failure::reject(format!("{} of them", 3)).to_string(), "3 of them");
    }

    #[test]
    fn a_cause_that_its_error_repeats_is_stated_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot ask: {0}")]
        struct Ask(#[source] Shop);

        let expected = format!("cannot ask: {REASON}");
        assert_eq!(Failure::try_again(Ask(shop())), Failure::TryAgain(expected));
    }

    #[test]
    fn an_error_of_the_input_rejects_and_one_of_the_world_is_tried_again() {
        let json = serde_json::from_str::<u8>("x").unwrap_err();
        assert!(
            matches!(Failure::from(json), Failure::Reject(reason) if reason.starts_with("expected value"))
        );
        let number = "x".parse::<u8>().unwrap_err();
        assert_eq!(Failure::from(number), Failure::Reject("invalid digit found in string".into()));
        assert_eq!(Failure::from(io::Error::other("closed")), Failure::TryAgain("closed".into()));
    }

    #[test]
    fn a_boxed_error_becomes_what_is_in_the_box() {
        let boxed = |error: Box<dyn Error + Send + Sync>| Failure::from(error);
        assert_eq!(boxed(shop().into()), Failure::TryAgain(REASON.into()));
        assert_eq!(boxed(Failure::reject("no").into()), Failure::Reject("no".into()));
        let number = "x".parse::<u8>().unwrap_err();
        assert_eq!(boxed(number.into()), Failure::Reject("invalid digit found in string".into()));
    }

    #[cfg(feature = "anyhow")]
    #[test]
    fn an_error_of_anyhow_keeps_its_causes_and_what_they_mean() {
        use anyhow::{Context, anyhow};

        let context = |result: anyhow::Result<()>| Failure::from(result.context("order 5").unwrap_err());
        assert_eq!(context(Err(shop().into())), Failure::TryAgain(format!("order 5: {REASON}")));
        assert_eq!(context(Err(anyhow!("odd"))), Failure::TryAgain("order 5: odd".into()));
        assert_eq!(context(Err(Failure::reject("no").into())), Failure::Reject("order 5: no".into()));
        let number = "x".parse::<u8>().unwrap_err();
        let expected = "order 5: invalid digit found in string";
        assert_eq!(context(Err(number.into())), Failure::Reject(expected.into()));
    }
}
