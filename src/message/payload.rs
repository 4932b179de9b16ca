//! The payload as text and as JSON.

use std::str::Utf8Error;

use serde::Deserialize;

use super::Message;

/// The payload of a message is not what was asked for. As a [`Failure`](crate::Failure) it rejects the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// It is not text.
    #[error("the payload is not UTF-8")]
    Text(#[source] Utf8Error),
    /// It is not JSON.
    #[error("the payload is not JSON")]
    Json(#[source] serde_json::Error),
    /// It is JSON, but not of the type that was asked for.
    #[error("the payload does not have the expected form")]
    Form(#[source] serde_json::Error),
    /// The entry has several fields, and none of them is the configured payload field.
    #[error("the entry has no field {field:?}, which would hold its payload; read its fields instead")]
    Missing {
        /// [`StreamInput::payload_field`](crate::StreamInput::payload_field).
        field: String,
    },
}

impl Message {
    /// The payload as text.
    ///
    /// # Errors
    /// It is not UTF-8, or the entry has none.
    pub fn text(&self) -> Result<&str, PayloadError> {
        std::str::from_utf8(self.present()?).map_err(PayloadError::Text)
    }

    /// The payload as a JSON value. The value may borrow from the message.
    ///
    /// ```
    /// # use redis_consumer_group::{Message, PayloadError};
    /// #[derive(serde::Deserialize)]
    /// struct Order<'a> {
    ///     message_id: &'a str,
    /// }
    ///
    /// fn id_of(message: &Message) -> Result<&str, PayloadError> {
    ///     Ok(message.json::<Order>()?.message_id)
    /// }
    /// ```
    ///
    /// # Errors
    /// It is not JSON, not of this type, or the entry has none.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, PayloadError> {
        serde_json::from_slice(self.present()?).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => PayloadError::Form(error),
            _ => PayloadError::Json(error),
        })
    }

    fn present(&self) -> Result<&[u8], PayloadError> {
        let payload = self.payload();
        match self.payload_field() {
            Some(field) if payload.is_empty() && self.fields().all(|(name, _)| name != field.as_bytes()) => {
                Err(PayloadError::Missing { field: field.to_owned() })
            }
            _ => Ok(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Portion;
    use super::super::tests::batch;
    use super::*;
    use crate::processor::Failure;

    fn message(payload: &str) -> Message {
        Portion::of(batch(&[payload])).next().unwrap()
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Order<'a> {
        id: &'a str,
        size: u8,
    }

    #[test]
    fn a_payload_is_read_as_text_or_json_without_a_copy() {
        let message = message(r#"{"id":"a","size":3}"#);
        assert_eq!(message.text().unwrap(), r#"{"id":"a","size":3}"#);
        assert_eq!(message.json::<Order>().unwrap(), Order { id: "a", size: 3 });
    }

    #[test]
    fn a_payload_that_is_something_else_rejects_its_message_and_says_why() {
        let reason = |payload| match Failure::from(message(payload).json::<Order>().unwrap_err()) {
            Failure::Reject(reason) => reason,
            other => panic!("{other:?}"),
        };
        assert!(reason("{").starts_with("the payload is not JSON: EOF"));
        let form = reason(r#"{"id":"a"}"#);
        assert!(
            form.starts_with("the payload does not have the expected form: missing field `size`"),
            "{form}"
        );
    }
}
