//! The commands of a load, encoded in advance: only the number of each message is written later.

use uuid::Uuid;

use super::protocol::{Command, INPUT, OUTPUT, of_shard};
use crate::bench::numbering::{Numbering, write_number};
use crate::load::Payload;

/// A buffer full of commands that differ in the number of their message, and in its shard.
pub(crate) struct Commands {
    /// Has one more turn of shards than its capacity, so that it can be read from any shard on.
    buffer: Vec<u8>,
    /// For each command in the buffer.
    places: Vec<Place>,
    /// The number of shards that take turns; 1 without shards.
    turn: usize,
}

/// The position of a command in the buffer.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: usize,
    /// The end of the id, and of its number.
    id_end: usize,
    end: usize,
}

impl Commands {
    /// A buffer for at most this number of commands, and at most 64 KiB.
    pub(crate) fn new(
        command: Command,
        shards: &[u32],
        run: Uuid,
        payload_bytes: usize,
        most: usize,
    ) -> Self {
        const BYTES: usize = 64 << 10;
        let id = Numbering::of(run).id(0);
        let text = id.to_string();
        let mut payload = Payload::new(payload_bytes);
        let inputs = match shards {
            [] => vec![INPUT.to_owned()],
            shards => shards.iter().map(|shard| of_shard(INPUT, *shard)).collect(),
        };
        let ones: Vec<_> = inputs.iter().map(|input| encoded(command, input, &mut payload, id)).collect();
        let longest = ones.iter().map(Vec::len).max().unwrap_or(1);
        let count = (BYTES / longest).clamp(1, most);
        let (mut buffer, mut places) = (Vec::new(), Vec::new());
        for one in ones.iter().cycle().take(count + ones.len() - 1) {
            let id_at = one.windows(text.len()).position(|window| window == text.as_bytes()).unwrap_or(0);
            let start = buffer.len();
            places.push(Place { start, id_end: start + id_at + text.len(), end: start + one.len() });
            buffer.extend_from_slice(one);
        }
        Self { buffer, places, turn: ones.len() }
    }

    /// How many commands it holds.
    pub(crate) fn capacity(&self) -> u64 {
        (self.places.len() + 1 - self.turn) as u64
    }

    /// The commands for `count` messages, but at most the capacity. The first one is the `from`th of this load, and has
    /// this number.
    pub(crate) fn numbered(&mut self, from: u64, number: u64, count: u64) -> &[u8] {
        let first = (from % self.turn as u64) as usize;
        let places = &self.places[first..first + count.min(self.capacity()) as usize];
        for (place, number) in places.iter().zip(number..) {
            write_number(&mut self.buffer[place.start..place.id_end], number);
        }
        match places {
            [] => &[],
            [first, ..] => &self.buffer[first.start..places[places.len() - 1].end],
        }
    }
}

/// The number of bytes that a subscriber reads for one message.
pub(crate) fn frame_length(payload_bytes: usize) -> u64 {
    let mut payload = Payload::new(payload_bytes);
    command(&[b"message", INPUT.as_bytes(), payload.with_id(Uuid::nil())]).len() as u64
}

/// A command, or any other array of strings.
pub(crate) fn command(arguments: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", arguments.len()).into_bytes();
    arguments.iter().for_each(|argument| push_bulk(&mut out, argument));
    out
}

/// Appends one string.
pub(crate) fn push_bulk(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
    out.extend_from_slice(text);
    out.extend_from_slice(b"\r\n");
}

fn encoded(kind: Command, input: &str, payload: &mut Payload, id: Uuid) -> Vec<u8> {
    let consumer = Uuid::nil().to_string();
    let mut arguments: Vec<&[u8]> = vec![b"XADD"];
    match kind {
        Command::Publish => return command(&[b"PUBLISH", input.as_bytes(), payload.with_id(id)]),
        Command::ShardedPublish => return command(&[b"SPUBLISH", input.as_bytes(), payload.with_id(id)]),
        // The record that the default processor makes.
        Command::Append => {
            arguments.extend([OUTPUT.as_bytes(), b"*"]);
            arguments.extend(payload.fields_with_id(id));
            arguments.extend([&b"consumer_id"[..], consumer.as_bytes()]);
        }
        Command::Fill => {
            arguments.extend([input.as_bytes(), b"*"]);
            arguments.extend(payload.fields_with_id(id));
        }
    }
    command(&arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_the_id_of_its_message() {
        let numbering = Numbering::new();
        let mut commands = Commands::new(Command::Publish, &[], numbering.id(9), 0, 512);
        commands.numbered(5000, 5000, 300);
        let bytes = commands.numbered(7, 7, 2).to_vec();
        let one = |number| {
            let payload = format!(r#"{{"message_id":"{}"}}"#, numbering.id(number));
            command(&[b"PUBLISH", INPUT.as_bytes(), payload.as_bytes()])
        };
        assert_eq!(bytes, [one(7), one(8)].concat());
    }

    #[test]
    fn messages_go_to_the_shards_in_turn_wherever_a_pipeline_begins() {
        let numbering = Numbering::new();
        let mut commands = Commands::new(Command::ShardedPublish, &[7, 12, 3], numbering.id(0), 0, 4);
        assert_eq!(commands.capacity(), 4);
        for (from, shards) in [(0, [7, 12, 3, 7]), (4, [12, 3, 7, 12]), (8, [3, 7, 12, 3])] {
            let expected: Vec<_> = (100 + from..)
                .zip(shards)
                .map(|(number, shard)| {
                    let payload = format!(r#"{{"message_id":"{}"}}"#, numbering.id(number));
                    command(&[b"SPUBLISH", of_shard(INPUT, shard).as_bytes(), payload.as_bytes()])
                })
                .collect();
            assert_eq!(commands.numbered(from, 100 + from, 99), expected.concat(), "{from}");
            assert_eq!(commands.numbered(from, 100 + from, 1), expected[0], "{from}");
        }
        assert_eq!(commands.numbered(0, 0, 0), b"");
    }

    #[test]
    fn an_append_has_the_fields_that_a_consumer_would_append() {
        let numbering = Numbering::new();
        let mut commands = Commands::new(Command::Append, &[], numbering.id(0), 200, 256);
        let text = String::from_utf8(commands.numbered(3, 3, 1).to_vec()).unwrap();
        let words: Vec<_> = text.split("\r\n").filter(|word| !word.starts_with(['$', '.'])).collect();
        assert_eq!(words[..4], ["*9", "XADD", OUTPUT, "*"]);
        assert_eq!(words[4..7], ["message_id", &numbering.id(3).to_string(), "padding"]);
        assert_eq!(words[7], "consumer_id");
    }

    #[test]
    fn an_entry_of_the_input_has_the_members_of_the_message_as_fields() {
        let numbering = Numbering::new();
        let mut commands = Commands::new(Command::Fill, &[], numbering.id(0), 0, 256);
        let id = numbering.id(3).to_string();
        assert_eq!(
            commands.numbered(3, 3, 1),
            command(&[b"XADD", INPUT.as_bytes(), b"*", b"message_id", id.as_bytes()])
        );
    }

    #[test]
    fn a_long_message_is_sent_alone() {
        let mut commands = Commands::new(Command::Publish, &[], Uuid::new_v4(), 1 << 20, 512);
        assert_eq!(commands.capacity(), 1);
        assert!(commands.numbered(0, 0, 9).len() > 1 << 20);
    }
}
