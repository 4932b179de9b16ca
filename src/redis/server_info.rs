//! What a server reports about itself, to find out why a connection ended.

use super::info::{text, value};
use super::reply::Reply;

/// Taken from `INFO` with each subscription. Empty where `INFO` is not permitted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    /// Changes with every restart.
    run_id: Option<String>,
    /// How many clients were cut because their output buffer was full. Valkey counts them, Redis does not.
    cut: Option<u64>,
}

impl ServerInfo {
    /// The command to send.
    pub(crate) const COMMAND: [&[u8]; 3] = [b"INFO", b"server", b"stats"];

    pub(crate) fn read(info: &str) -> Self {
        Self {
            run_id: value(info, "run_id").map(str::to_owned),
            cut: value(info, "client_output_buffer_limit_disconnections")
                .and_then(|count| count.parse().ok()),
        }
    }

    /// Reads the reply to `INFO`. `None` if that is not permitted.
    pub(crate) fn of(reply: &Reply<'_>) -> Option<Self> {
        text(reply).map(|info| Self::read(&info))
    }

    /// Why a connection ended, from the values before and after.
    pub(crate) fn cause(&self, after: &Self) -> Option<&'static str> {
        if self.run_id.is_some() && after.run_id.is_some() && self.run_id != after.run_id {
            return Some("the server was restarted, or another one answers");
        }
        match (self.cut, after.cut) {
            (Some(before), Some(after)) if after > before => {
                Some("the server disconnected a subscriber that had reached its client-output-buffer-limit")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_info(run: &str, cut: u64) -> ServerInfo {
        let info = format!(
            "# Server\r\nredis_version:9.1.2\r\nrun_id:{run}\r\n# Stats\r\n\
             client_output_buffer_limit_disconnections:{cut}\r\n"
        );
        ServerInfo::read(&info)
    }

    #[test]
    fn another_run_is_a_restart_and_a_higher_count_a_cut() {
        assert_eq!(server_info("a", 0).cause(&server_info("a", 0)), None);
        assert!(server_info("a", 3).cause(&server_info("b", 0)).unwrap().contains("restarted"));
        assert!(
            server_info("a", 3).cause(&server_info("a", 4)).unwrap().contains("client-output-buffer-limit")
        );
    }

    #[test]
    fn a_server_without_information_is_not_suspected() {
        let silent = ServerInfo::read("NOPERM");
        assert_eq!(silent, ServerInfo::default());
        assert_eq!(silent.cause(&server_info("a", 1)), None);
        assert_eq!(server_info("a", 1).cause(&silent), None);
    }
}
