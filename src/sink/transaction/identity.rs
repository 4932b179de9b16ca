//! Identifies the server that confirms commits, and its data.

use crate::redis::info::{text, value};
use crate::redis::reply::Reply;

/// A server's ids of itself and of its data, from `INFO server replication`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// `run_id`: changes when the server restarts.
    run: Box<str>,
    /// `master_replid`: changes when the server is promoted.
    history: Box<str>,
    /// Whether `master_replid2` is set: the data continues that of another server, or the
    /// server's own before a restart.
    is_heir: bool,
}

impl Identity {
    /// Reads the answer to `INFO server replication`; `None` if the command is not permitted.
    pub(super) fn of(reply: &Reply<'_>) -> Option<Self> {
        Self::read(&text(reply)?)
    }

    fn read(info: &str) -> Option<Self> {
        let former = value(info, "master_replid2").unwrap_or_default();
        Some(Self {
            run: value(info, "run_id")?.into(),
            history: value(info, "master_replid").unwrap_or_default().into(),
            is_heir: former.contains(|digit| digit != '0'),
        })
    }

    /// Whether its data may be older than that of `former`: it is another server, or was a replica in between. A
    /// server's first replica also changes `master_replid`, but leaves `master_replid2` empty.
    pub(super) fn may_lack_what(&self, former: &Self) -> bool {
        self.run != former.run || (self.is_heir && self.history != former.history)
    }

    /// Whether it started after `former`, without any earlier data.
    pub(super) fn began_after(&self, former: &Self) -> bool {
        self.run != former.run && !self.is_heir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run: &str, history: &str, former: &str) -> Identity {
        let info = format!(
            "# Server\r\nrun_id:{run}\r\n# Replication\r\nmaster_replid:{history}\r\nmaster_replid2:{former}\r\n"
        );
        Identity::read(&info).unwrap()
    }

    #[test]
    fn a_server_that_was_promoted_or_started_since_may_lack_something() {
        let before = server("a", "x", "000");
        assert!(!server("a", "x", "000").may_lack_what(&before));
        assert!(!server("a", "y", "000").may_lack_what(&before), "its first replica has come");
        assert!(server("b", "y", "x").may_lack_what(&before), "its replica was promoted");
        assert!(server("a", "z", "y").may_lack_what(&before), "to and fro");
        assert!(server("b", "y", "000").may_lack_what(&before), "it was started again");
    }

    #[test]
    fn only_a_server_without_data_from_before_its_start_counts_as_restarted_without_data() {
        let before = server("a", "x", "000");
        assert!(server("b", "y", "000").began_after(&before));
        assert!(!server("b", "y", "x").began_after(&before));
        assert!(!server("a", "z", "y").began_after(&before));
    }

    #[test]
    fn a_reply_without_an_identity_is_none() {
        assert_eq!(Identity::read("NOPERM"), None);
    }
}
