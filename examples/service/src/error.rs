//! The errors of an order, and which of them are worth a retry.

use redis_consumer_group::{Failure, PayloadError, RecordError};

#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("not an order")]
    NotAnOrder(#[from] PayloadError),

    #[error("there is no article {0:?}")]
    NoSuchArticle(String),

    #[error("the total is too large")]
    TooMuch,

    #[error("no price from the price service")]
    NoPrice(#[from] hyper_util::client::legacy::Error),

    #[error("the price service answered {0}")]
    Refused(hyper::StatusCode),

    #[error("no whole answer from the price service")]
    Cut(#[from] hyper::Error),

    #[error("the price service answered with something that is not a price")]
    NotAPrice(#[from] serde_json::Error),

    #[error("cannot write the priced order")]
    NotARecord(#[from] RecordError),
}

/// The only place that decides. Everywhere else, `?` is enough.
impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::NotAnOrder(_)
            | AppError::NoSuchArticle(_)
            | AppError::TooMuch
            | AppError::NotARecord(_) => Self::reject(error),
            AppError::NoPrice(_) | AppError::Refused(_) | AppError::Cut(_) | AppError::NotAPrice(_) => {
                Self::try_again(error)
            }
        }
    }
}
