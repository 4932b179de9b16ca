//! The options of `publish`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::input::Input;
use crate::connection::ConnectionArgs;
use crate::publisher::TargetArgs;

/// Publish messages: the arguments, or the lines of a file or stdin
///
/// Example: redis-consumer-group publish --redis-addr localhost:6379 '{"message_id":"67e55044"}'
///
/// Without messages and without --file, publish reads stdin. Each line of stdin or of the file is a message: all bytes up
/// to the line feed. An empty line is an empty message, and a carriage return is part of the message. The last line needs
/// no line feed. A line can be up to 512 MiB long.
///
/// When a connection breaks, publish reconnects and sends unconfirmed messages again: each message is published at least
/// once. The summary says how many may have been published twice. Messages for one channel or stream keep their order,
/// except while a cluster moves it. After SIGINT or SIGTERM, publish stops reading, and tries for 10 seconds to publish what
/// it has read; a second signal stops it at once. The exit code is 1 if a message was read and not published, or not
/// confirmed.
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
