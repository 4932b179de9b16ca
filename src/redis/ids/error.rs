//! The errors of the ids, and whether waiting helps.

use std::fmt;
use std::io;
use std::time::Duration;

use redis::{ErrorKind, RedisError};

use super::{list, scripts};
use crate::error::Error;
use crate::redis::control::answer;
use crate::redis::fault::{Fault, Kind};
use crate::slot::beside;
use crate::text::Lasted;

/// An error of the ids. Its text names the key of the list of ids.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdsError {
    /// NOPERM: waiting does not help.
    #[error(
        "Redis refused to {purpose} the consumer ids in `{key}`: {source}; grant {}", .purpose.permissions(.key)
    )]
    Refused {
        /// The list of ids.
        key: String,
        /// What the refused command was for.
        purpose: Purpose,
        source: RedisError,
    },

    /// NOAUTH or WRONGPASS on an open connection: waiting helps only if a provider supplies the password.
    #[error("the consumer ids in `{key}`: {source}; check user and password")]
    NotLoggedIn { key: String, source: RedisError },

    /// There is no connection, and waiting does not help.
    #[error(transparent)]
    Unconnected(Error),

    /// WRONGTYPE, or a reply that our keys never give: waiting does not help.
    #[error(
        "`{key}` or one of its helper keys holds something other than the consumer ids: {source}; \
         choose another key for the ids, or delete what is there"
    )]
    WrongType { key: String, source: RedisError },

    /// Away, LOADING, BUSY, READONLY, …: retry.
    #[error("the consumer ids in `{key}`: {source}")]
    Away { key: String, source: RedisError },

    /// The server did not answer in time: retry.
    #[error("the consumer ids in `{key}`: no answer within {}", Lasted(*waited))]
    Silent { key: String, waited: Duration },
}

/// What a command on the ids is for. Each purpose needs its own permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For a living process.
    Register,
    /// For a person who looks at them.
    List,
    /// For a person who empties the list.
    Clear,
}

impl Purpose {
    /// All permissions that it needs. Redis 7.0 does not say which one was missing.
    fn permissions(self, key: &str) -> String {
        let beside = beside(key, "*");
        let grant = |commands: &[&str]| {
            commands.iter().map(|command| format!("+{command}")).collect::<Vec<_>>().join(" ")
        };
        match self {
            Self::Register => {
                format!("~{key} ~{beside} {}, and the keys of the lanes", grant(&scripts::COMMANDS))
            }
            Self::List => format!("~{key} ~{beside} {}", grant(&list::LISTING)),
            Self::Clear => format!("~{key} {}", grant(&list::CLEARING)),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Register => "register",
            Self::List => "list",
            Self::Clear => "clear",
        })
    }
}

impl IdsError {
    pub(super) fn new(key: &str, purpose: Purpose, source: RedisError) -> Self {
        let key = key.to_owned();
        match source.code() {
            Some("NOPERM") => Self::Refused { key, purpose, source },
            Some("NOAUTH" | "WRONGPASS") => Self::NotLoggedIn { key, source },
            Some("WRONGTYPE") => Self::WrongType { key, source },
            _ if is_refusal_inside_a_script(&source) => Self::Refused { key, purpose, source },
            _ if matches!(source.kind(), ErrorKind::Parse | ErrorKind::UnexpectedReturnType) => {
                Self::WrongType { key, source }
            }
            _ => Self::Away { key, source },
        }
    }

    /// There is no connection, so nothing was sent.
    pub(super) fn unconnected(key: &str, fault: Fault) -> Self {
        match fault {
            Fault::Permanent(error) => Self::Unconnected(error),
            Fault::Transient(cause) => {
                let source = io::Error::new(io::ErrorKind::NotConnected, cause).into();
                Self::Away { key: key.to_owned(), source }
            }
        }
    }

    /// Whether waiting does not help, so that the group ends with this error.
    pub(crate) fn is_fatal(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::NotLoggedIn { .. }
            | Self::Unconnected(_)
            | Self::WrongType { .. } => true,
            // A renamed command does not come back without help.
            Self::Away { source, .. } => Kind::of(&source.to_string()) == Kind::Missing,
            Self::Silent { .. } => false,
        }
    }

    /// The cause alone, without the key.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Refused { source, .. }
            | Self::NotLoggedIn { source, .. }
            | Self::WrongType { source, .. }
            | Self::Away { source, .. } => answer(source),
            Self::Unconnected(error) => error.to_string(),
            Self::Silent { waited, .. } => format!("no answer within {}", Lasted(*waited)),
        }
    }

    /// Whether the key is at another node of the cluster.
    pub(super) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Away { source, .. } if source.redirect_node().is_some())
    }
}

/// Redis checks commands in a script against the ACL one by one. Redis 7.0 and Valkey answer plain ERR (only Valkey
/// with the command's name), Redis 7.2 and later NOPERM.
fn is_refusal_inside_a_script(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    detail.starts_with("The user executing the script can't") || detail.starts_with("ACL failure in script")
}

#[cfg(test)]
mod tests {
    use redis::FromRedisValue;

    use super::*;

    fn refused(line: &'static str) -> IdsError {
        let error = redis::parse_redis_value(format!("-{line}\r\n").as_bytes())
            .and_then(|value| value.extract_error().map(drop))
            .unwrap_err();
        IdsError::new("consumer:ids", Purpose::Register, error)
    }

    #[test]
    fn refusals_and_wrong_types_are_fatal() {
        for line in [
            "NOPERM this user has no permissions to run the 'eval' command",
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "WRONGTYPE Operation against a key holding the wrong kind of value script: 6fb8, on @user_script:1.",
            "ERR The user executing the script can't run this command or subcommand script: 1f5a, on @user_script:1.",
            "ERR ACL failure in script: User u has no permissions to run the 'rpush' command script: 1f5a",
        ] {
            assert!(refused(line).is_fatal(), "{line}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_waited_out() {
        let unread = u64::from_redis_value(redis::Value::SimpleString("much".into())).unwrap_err();
        let error = IdsError::new("consumer:ids", Purpose::List, unread.into());
        assert!(matches!(error, IdsError::WrongType { .. }), "{error}");
    }

    #[test]
    fn everything_else_is_waited_out() {
        for line in [
            "LOADING Redis is loading the dataset in memory",
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
            "READONLY You can't write against a read only replica. script: 6fb8, on @user_script:1.",
            "MISCONF Redis is configured to save RDB snapshots",
            "NOREPLICAS Not enough good replicas to write.",
            "ERR unknown",
        ] {
            assert!(!refused(line).is_fatal(), "{line}");
        }
    }

    #[test]
    fn the_cause_is_the_answer_of_the_server_as_it_was() {
        let line = "NOREPLICAS Not enough good replicas to write.";
        assert_eq!(refused(line).cause(), line);
    }

    #[test]
    fn a_refusal_says_what_to_grant() {
        let text = refused("NOPERM no").to_string();
        assert!(text.contains("~consumer:ids ~{consumer:ids}:* +eval "), "{text}");
        let text = refused("NOAUTH Authentication required.").to_string();
        assert!(text.contains("check user and password") && !text.contains("+eval"), "{text}");
    }
}
