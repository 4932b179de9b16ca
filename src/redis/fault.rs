//! Why something failed on a connection: transient, or permanent so that somebody must act.

use std::io;

use super::resp::FrameError;
use crate::error::Error;

/// The reason why a command failed.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It passes without help: the server is away, loading, busy, out of memory, or a replica for now.
    Transient(String),
    /// Waiting does not repair it.
    Permanent(Error),
}

/// The subject of an error reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A missing permission.
    Refusal,
    /// User or password.
    Login,
    /// The key holds another type.
    WrongType,
    /// The server is a node of a cluster, and the key is at another node.
    Cluster,
    /// The server does not have a command: it was renamed, or removed.
    Missing,
    /// The server cannot serve now, which passes.
    Transient,
    /// Anything else. A server that we can work with does not answer this.
    Unknown,
}

impl Kind {
    /// The kind of an error reply, given without its leading `-`.
    pub(crate) fn of(answer: &str) -> Self {
        match answer.split_whitespace().next().unwrap_or_default() {
            "NOPERM" => Self::Refusal,
            "NOAUTH" | "WRONGPASS" => Self::Login,
            "WRONGTYPE" => Self::WrongType,
            "MOVED" | "ASK" | "CROSSSLOT" => Self::Cluster,
            // The reply to an `EXEC` that is not permitted.
            "EXECABORT" if answer.contains("because of: NOPERM") => Self::Refusal,
            "LOADING" | "BUSY" | "OOM" | "MISCONF" | "READONLY" | "NOREPLICAS" | "TRYAGAIN"
            | "CLUSTERDOWN" | "MASTERDOWN" | "UNBLOCKED" | "EXECABORT" => Self::Transient,
            // A node of a cluster has another text: "max number of clients + cluster connections reached".
            _ if answer.contains("max number of clients") => Self::Transient,
            // The client crate's own text for a refused `SELECT`.
            _ if answer.contains("has no permissions to run") => Self::Refusal,
            // Redis 7.0 and Valkey reply this for commands that a script runs.
            _ if answer.contains("The user executing the script can't") => Self::Refusal,
            _ if answer.contains("ACL failure in script") => Self::Refusal,
            _ if answer.contains("unknown command") => Self::Missing,
            _ if answer.contains("Unknown Redis command called from script") => Self::Missing,
            _ if answer.contains("Unknown command called from script") => Self::Missing,
            _ => Self::Unknown,
        }
    }
}

/// Whether the server answers and will soon serve: when it has loaded its data, or has enough memory or connections
/// again. A replica or a broken cluster is not meant: it may stay one.
pub(crate) fn passes_soon(answer: &str) -> bool {
    let code = answer.split_whitespace().next().unwrap_or_default();
    matches!(code, "LOADING" | "BUSY" | "OOM" | "MISCONF") || answer.contains("max number of clients")
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Transient(error.to_string())
    }
}

impl From<FrameError> for Fault {
    fn from(error: FrameError) -> Self {
        Self::Transient(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_code_shows_whether_a_fault_is_transient() {
        assert_eq!(Kind::of("LOADING Redis is loading the dataset in memory"), Kind::Transient);
        assert_eq!(Kind::of("ERR max number of clients reached"), Kind::Transient);
        let of_a_cluster = "ERR max number of clients + cluster connections reached";
        assert_eq!(Kind::of(of_a_cluster), Kind::Transient);
        assert_eq!(Kind::of("NOPERM this user has no permissions"), Kind::Refusal);
        assert_eq!(Kind::of("WRONGPASS invalid username-password pair"), Kind::Login);
        assert_eq!(Kind::of("WRONGTYPE Operation against a key"), Kind::WrongType);
        assert_eq!(Kind::of("MOVED 3999 127.0.0.1:6381"), Kind::Cluster);
        let exec = "EXECABORT Transaction discarded because of";
        assert_eq!(Kind::of(&format!("{exec}: NOPERM this user has no permissions")), Kind::Refusal);
        assert_eq!(Kind::of(&format!("{exec}: OOM command not allowed")), Kind::Transient);
        assert_eq!(Kind::of(&format!("{exec} previous errors.")), Kind::Transient);
        assert_eq!(Kind::of("ERR unknown command 'XADD', with args beginning with: 's'"), Kind::Missing);
        let in_a_script = "ERR Unknown Redis command called from script script: 6fb8, on @user_script:1.";
        assert_eq!(Kind::of(in_a_script), Kind::Missing);
        assert_eq!(Kind::of("ERR syntax error"), Kind::Unknown);
        assert_eq!(Kind::of(""), Kind::Unknown);
    }
}
