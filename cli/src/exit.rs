//! The exit codes, and the text of an error.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use redis_consumer_group::Error;

use crate::options::OptionError;
use crate::printable::printable_lines;
use crate::secret::{without_credentials, words_without_credentials};
use crate::stdout::Closed;

/// Messages were abandoned, or a failure without its own code.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// A measurement is worse than an earlier one.
pub(crate) const FELL: u8 = 99;
/// Redis cannot be reached, or is not ready (`EX_UNAVAILABLE`).
pub(crate) const UNREACHABLE: u8 = 69;
/// Redis refused access (`EX_NOPERM`).
pub(crate) const REFUSED: u8 = 77;
/// A setting is invalid, or a key in Redis has the wrong type (`EX_CONFIG`).
pub(crate) const CONFIGURATION: u8 = 78;

/// An error with its own exit code, for example one that a child process reported.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) text: String,
}

/// Prints the error to stderr and returns its exit code. A closed stdout is not an error.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<Closed>() {
        return ExitCode::SUCCESS;
    }
    // A thread writes, and is waited for with a limit: stderr may be a full pipe that is not read.
    let (line, (written, is_written)) = (format!("error: {}\n", text(error)), mpsc::channel());
    thread::spawn(move || written.send(io::stderr().write_all(line.as_bytes())));
    let _ = is_written.recv_timeout(Duration::from_secs(2));
    ExitCode::from(code(error))
}

/// The error and its causes. A cause is not repeated: most texts contain their cause already.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let join =
        |text: String, cause: String| if text.contains(&cause) { text } else { format!("{text}: {cause}") };
    let text = error.chain().map(ToString::to_string).reduce(join).unwrap_or_default();
    // A server's answer may contain control characters for the terminal.
    printable_lines(&if repeats_what_was_given(error) {
        without_credentials(&text)
    } else {
        words_without_credentials(&text)
    })
}

/// Whether the text may repeat a value as the user wrote it. The other errors contain only masked addresses.
fn repeats_what_was_given(error: &anyhow::Error) -> bool {
    use Error::{Ids, NotReady, Protocol, Refused, Unreachable};
    let told = error.downcast_ref::<Error>();
    !matches!(
        told,
        Some(Ids { .. } | NotReady { .. } | Protocol { .. } | Refused { .. } | Unreachable { .. })
    )
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref::<OptionError>() {
        return if error.is_usage() { USAGE } else { CONFIGURATION };
    }
    if let Some(Coded { code, .. }) = error.downcast_ref() {
        return *code;
    }
    if error.is::<redis_private_server::Error>() {
        return UNREACHABLE;
    }
    match error.downcast_ref::<Error>() {
        Some(Error::Unreachable { .. } | Error::NotReady { .. }) => UNREACHABLE,
        Some(Error::Refused { .. } | Error::Ids { .. }) => REFUSED,
        Some(Error::Config { .. } | Error::Address(_) | Error::File { .. } | Error::WrongType { .. }) => {
            CONFIGURATION
        }
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_is_found_below_a_context_too() {
        let refused = Error::Refused {
            address: "redis://h:1".into(),
            what: "the password".into(),
            answer: "WRONGPASS".into(),
            try_next: "check it".into(),
        };
        assert_eq!(code(&anyhow::Error::from(refused).context("at the start")), REFUSED);
        assert_eq!(code(&anyhow::anyhow!("anything else")), FAILED);
    }

    #[test]
    fn an_answer_of_a_server_cannot_move_the_cursor() {
        let refused = Error::Refused {
            address: "redis://h:1".into(),
            what: "the password".into(),
            answer: "ERR \u{1b}[2J on @user_script:1".into(),
            try_next: "check it".into(),
        };
        let said = text(&refused.into());
        assert!(said.contains("redis://h:1 refused"), "{said}");
        assert!(said.contains("ERR \\u{1b}[2J on @user_script"), "{said}");
    }

    #[test]
    fn a_cause_is_stated_once() {
        let file =
            Error::File { option: "tls-ca", path: "ca.pem".into(), source: io::ErrorKind::NotFound.into() };
        let said = text(&anyhow::Error::from(file).context("at the start"));
        assert_eq!(said.matches("entity not found").count(), 1, "{said}");
        assert!(said.starts_with("at the start: tls-ca: cannot read ca.pem"), "{said}");
    }
}
