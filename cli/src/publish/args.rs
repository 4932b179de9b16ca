//! The options of `publish`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::input::Input;
use crate::connection::ConnectionArgs;
use crate::publisher::TargetArgs;

/// Publish messages: those given, or the lines of a file or of stdin
///
/// Example: redis-consumer-group publish --redis-addr localhost:6379 '{"message_id":"67e55044"}'
///
/// Without messages and without --file it reads stdin. Each line of stdin or of a file is a message: all bytes up to the
/// line feed. So an empty line is an empty message, and a carriage return belongs to its message. The last line needs no
/// line feed. A line may be up to 512 MiB long.
///
/// When a connection breaks, it reconnects, and messages that were not confirmed are sent again: each is published at least
/// once. The summary says how many may be published twice. Those for one channel or stream keep their order, except while a
/// cluster moves it. After SIGINT or SIGTERM it reads no more, and tries for 10 seconds to publish what it has read; a second
/// signal ends it at once. Exit code 1 if a message that was read is not published, or unconfirmed.
#[derive(Debug, Clone, Args)]
pub(crate) struct PublishArgs {
    /// Messages to publish. Write -- before one that begins with -
    #[arg(value_name = "MESSAGE", conflicts_with = "file")]
    messages: Vec<OsString>,
    /// Publish the lines of this file; - is stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// Print the summary as a JSON object
    #[arg(long)]
    pub(super) json: bool,
    // Last, because the heading of its options also applies to the options after it.
    #[command(flatten)]
    pub(super) connection: ConnectionArgs,
}

impl PublishArgs {
    /// Where the messages come from.
    pub(super) fn input(&self) -> Input {
        match &self.file {
            Some(file) if file.as_os_str() != "-" => Input::File(file.clone()),
            None if !self.messages.is_empty() => {
                Input::Given(self.messages.iter().cloned().map(OsString::into_vec).collect())
            }
            _ => Input::Stdin,
        }
    }
}
