//! Texts in Redis that other programs may have written.

use redis::{FromRedisValue, ParsingError, Value};

/// A text from Redis, with `U+FFFD` for what is not UTF-8. Ours always is UTF-8, and other programs' bytes must not
/// make a reply unreadable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Text(pub(super) String);

impl FromRedisValue for Text {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let bytes = Vec::<u8>::from_redis_value(value)?;
        Ok(Self(String::from_utf8_lossy(&bytes).into_owned()))
    }
}
