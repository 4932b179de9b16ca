//! The answer to `INFO` and `CLUSTER INFO`: a text with a line `name:value` for each field.

use std::borrow::Cow;

use super::reply::Reply;

/// The text of the answer; `None` if the command is not permitted.
pub(crate) fn text<'a>(reply: &Reply<'a>) -> Option<Cow<'a, str>> {
    match reply {
        Reply::Bulk(Some(info)) => Some(String::from_utf8_lossy(info)),
        _ => None,
    }
}

/// The value of a field.
pub(crate) fn value<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
