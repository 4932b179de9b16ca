//! Texts that anybody may have written.

use redis::{FromRedisValue, ParsingError, Value};

/// A text as it stands in Redis, with `U+FFFD` for what is not UTF-8: ours always is, and another program's
/// bytes are no reason for an answer to be unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Text(pub(super) String);

impl FromRedisValue for Text {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let bytes = Vec::<u8>::from_redis_value(value)?;
        Ok(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }
}
