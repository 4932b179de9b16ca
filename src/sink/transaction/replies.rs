//! Parses the server's answers to a lane's transactions.

use crate::redis::reply::{self, Reply};
use crate::redis::resp::{self, FrameError, Head};

/// The contents of the hash, as a new connection reads them.
pub(super) struct Fence {
    /// The number of the last commit that happened; `None` if there was none since the hash was created.
    pub(super) number: Option<u64>,
    pub(super) fence: i64,
}

impl Fence {
    pub(super) fn read(reply: &Reply<'_>) -> Result<Self, String> {
        match reply {
            Reply::Array(Some(replies)) => match replies.as_slice() {
                [Reply::Bulk(None), Reply::Int(fence)] => Ok(Self { number: None, fence: *fence }),
                [Reply::Bulk(Some(number)), Reply::Int(fence)] => {
                    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
                    match number {
                        Some(number) => Ok(Self { number: Some(number), fence: *fence }),
                        None => Err("the lane's number is not a number".to_owned()),
                    }
                }
                replies => {
                    Err(replies.iter().find_map(Reply::error).unwrap_or_else(|| format!("{replies:?}")))
                }
            },
            other => Err(other.error().unwrap_or_else(|| format!("{other:?}"))),
        }
    }
}

/// The result of an `EXEC`.
pub(super) enum Executed {
    /// Everything was executed. `acknowledged`: entries that were pending until now.
    All {
        acknowledged: u64,
    },
    Nothing(String),
    /// `from`: the first command that failed, counted from 0.
    InPart {
        from: usize,
        answer: String,
    },
}

impl Executed {
    /// Reads the reply to an `EXEC` at the front of `input`, and its length in bytes; `None` until it is complete.
    /// Most of it are entry ids, which are skipped without being parsed.
    ///
    /// `answers`: the number of commands before the last one, which is the `HSET`.
    pub(super) fn parse(input: &[u8], answers: usize) -> Result<Option<(Self, usize)>, FrameError> {
        let Some((Head::Array(Some(len)), mut at)) = resp::head(input, 0)? else {
            return Ok(reply::parse(input)?.map(|(reply, used)| (Self::of_none(&reply), used)));
        };
        if len > answers + 1 {
            let (what, limit) = ("replies to a commit", answers + 1);
            return Err(FrameError::TooLarge { what, size: len, limit });
        }
        let (mut error, mut acknowledged) = (None, None);
        for index in 0..len {
            if let Some(id) = reply::skip_short_bulk(&input[at..]) {
                at += id;
                continue;
            }
            let Some((reply, used)) = reply::parse(&input[at..])? else { return Ok(None) };
            error = error.or_else(|| Some((index, reply.error()?)));
            if let Reply::Int(count) = reply {
                acknowledged = acknowledged.or(u64::try_from(count).ok());
            }
            at += used;
        }
        let executed = match error {
            Some((from, answer)) => Self::InPart { from, answer },
            None if len == answers + 1 => Self::All { acknowledged: acknowledged.unwrap_or(0) },
            None => Self::InPart { from: len, answer: format!("{len} replies to {answers} commands") },
        };
        Ok(Some((executed, at)))
    }

    /// Reads a reply that does not contain the replies of commands.
    fn of_none(reply: &Reply<'_>) -> Self {
        match reply {
            Reply::Array(None) | Reply::Bulk(None) => {
                Self::Nothing("another client changed the lane's number".to_owned())
            }
            other => Self::Nothing(other.error().unwrap_or_else(|| format!("{other:?}"))),
        }
    }
}

/// How many entries an `XCLAIM JUSTID` made pending again.
pub(super) fn pending_again(reply: &Reply<'_>) -> Result<usize, String> {
    match reply {
        Reply::Array(Some(ids)) => Ok(ids.len()),
        other => Err(other.error().unwrap_or_else(|| format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &str, appended: usize) -> Option<(Executed, usize)> {
        Executed::parse(input.as_bytes(), appended).unwrap()
    }

    const TWO: &str = "*3\r\n$15\r\n1700000000000-0\r\n$16\r\n1700000000000-10\r\n:0\r\n";

    #[test]
    fn all_of_a_commit_was_made_when_each_record_has_its_entry() {
        let (executed, used) = parse(&format!("{TWO}+OK\r\n"), 2).unwrap();
        assert!(matches!(executed, Executed::All { .. }));
        assert_eq!(used, TWO.len());
    }

    #[test]
    fn an_incomplete_answer_is_waited_for_wherever_it_ends() {
        assert!((0..TWO.len()).all(|end| parse(&TWO[..end], 2).is_none()));
    }

    #[test]
    fn an_error_among_the_replies_is_a_commit_in_part() {
        let reply = "*3\r\n$3\r\n1-0\r\n-WRONGTYPE no\r\n:0\r\n";
        assert!(matches!(
            parse(reply, 2),
            Some((Executed::InPart { from: 1, answer }, _)) if answer == "WRONGTYPE no"
        ));
        assert!(matches!(parse(TWO, 3), Some((Executed::InPart { .. }, _))));
    }

    #[test]
    fn nil_and_a_refusal_are_no_commit() {
        assert!(matches!(parse("*-1\r\n", 2), Some((Executed::Nothing(_), 5))));
        assert!(
            matches!(parse("-EXECABORT x\r\n", 2), Some((Executed::Nothing(why), _)) if why == "EXECABORT x")
        );
    }
}
