//! The commands of a load, encoded beforehand: for each message, only its number is written.

use uuid::Uuid;

use super::protocol::{Command, INPUT, OUTPUT};
use crate::bench::numbering::{Numbering, write_number};
use crate::publish::Payload;

/// A buffer full of commands that differ in the number of their message only.
pub(crate) struct Commands {
    buffer: Vec<u8>,
    /// The length of one command.
    length: usize,
    /// Where in a command the id ends, and the number with it.
    id_end: usize,
}

impl Commands {
    /// A buffer for so many commands, or as many as fit into 64 KiB.
    pub(crate) fn new(command: Command, run: Uuid, payload_bytes: usize, most: usize) -> Self {
        const BYTES: usize = 64 << 10;
        let id = Numbering::of(run).id(0);
        let mut payload = Payload::new(payload_bytes);
        let one = encoded(command, &mut payload, id);
        let text = id.to_string();
        let id_end =
            one.windows(text.len()).position(|window| window == text.as_bytes()).unwrap_or(0) + text.len();
        let count = (BYTES / one.len()).clamp(1, most);
        Self { length: one.len(), id_end, buffer: one.repeat(count) }
    }

    /// How many commands it holds.
    pub(crate) fn capacity(&self) -> u64 {
        (self.buffer.len() / self.length) as u64
    }

    /// The commands for so many messages from this number on; no more than there is room for.
    pub(crate) fn numbered(&mut self, from: u64, count: u64) -> &[u8] {
        let count = count.min(self.capacity());
        for (command, number) in self.buffer.chunks_exact_mut(self.length).zip(from..from + count) {
            write_number(&mut command[..self.id_end], number);
        }
        &self.buffer[..count as usize * self.length]
    }
}

/// How many bytes a subscriber reads for one message.
pub(crate) fn frame_length(payload_bytes: usize) -> u64 {
    let mut payload = Payload::new(payload_bytes);
    command(&[b"message", INPUT.as_bytes(), payload.with_id(Uuid::nil())]).len() as u64
}

/// A command, or anything else that is an array of strings.
pub(crate) fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
    arguments.iter().for_each(|argument| push_bulk(&mut out, argument));
    out
}

/// One of its strings.
pub(crate) fn push_bulk(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn encoded(kind: Command, payload: &mut Payload, id: Uuid) -> Vec<u8> {
    let consumer = Uuid::nil().to_string();
    let mut arguments: Vec<&[u8]> = vec![b"XADD"];
    match kind {
        Command::Publish => return command(&[b"PUBLISH", INPUT.as_bytes(), payload.with_id(id)]),
        // What the default processor makes of it.
        Command::Append => {
            arguments.extend([OUTPUT.as_bytes(), b"*"]);
            arguments.extend(payload.fields_with_id(id));
            arguments.extend([&b"consumer_id"[..], consumer.as_bytes()]);
        }
        Command::Fill => {
            arguments.extend([INPUT.as_bytes(), b"*"]);
            arguments.extend(payload.fields_with_id(id));
        }
    }
    command(&arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_bears_the_id_of_its_message() {
        let numbering = Numbering::new();
        let mut commands = Commands::new(Command::Publish, numbering.id(9), 0, 512);
        commands.numbered(5000, 300);
        let bytes = commands.numbered(7, 2).to_vec();
        let one = |number| {
            let payload = format!(r#"{{"message_id":"{}"}}"#, numbering.id(number));
            command(&[b"PUBLISH", INPUT.as_bytes(), payload.as_bytes()])
        };
        assert_eq!(bytes, [one(7), one(8)].concat());
    }

    #[test]
    fn an_append_has_the_fields_that_a_consumer_would_append() {
        let numbering = Numbering::new();
        let mut commands = Commands::new(Command::Append, numbering.id(0), 200, 256);
        let text = String::from_utf8(commands.numbered(3, 1).to_vec()).unwrap();
        let words: Vec<_> = text.split("\r\n").filter(|word| !word.starts_with(['$', '.'])).collect();
        assert_eq!(words[..4], ["*9", "XADD", OUTPUT, "*"]);
        assert_eq!(words[4..7], ["message_id", &numbering.id(3).to_string(), "padding"]);
        assert_eq!(words[7], "consumer_id");
    }

    #[test]
    fn an_entry_of_the_input_has_the_members_of_the_message_as_fields() {
        let numbering = Numbering::new();
        let mut commands = Commands::new(Command::Fill, numbering.id(0), 0, 256);
        let id = numbering.id(3).to_string();
        assert_eq!(
            commands.numbered(3, 1),
            command(&[b"XADD", INPUT.as_bytes(), b"*", b"message_id", id.as_bytes()])
        );
    }

    #[test]
    fn a_long_message_is_sent_alone() {
        let mut commands = Commands::new(Command::Publish, Uuid::new_v4(), 1 << 20, 512);
        assert_eq!(commands.capacity(), 1);
        assert!(commands.numbered(0, 9).len() > 1 << 20);
    }
}
