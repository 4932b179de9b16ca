//! Options for messages that wait, and for those that find no room.

use redis_consumer_group::Overflow;

use crate::options::option::{Group, Kind, Opt};
use crate::options::value::{number, put, size};

pub(super) const GROUP: Group = Group { heading: "Buffer", options: OPTIONS };

const OPTIONS: &[Opt] = &[
    Opt::new(
        "buffer",
        Kind::Value("SIZE"),
        "256MiB",
        "Memory for waiting messages, including frames and bookkeeping",
        |s, text| put(&mut s.config.buffer, size(text)),
    ),
    Opt::new(
        "overflow",
        Kind::Choice(&["drop", "wait", "spill"]),
        "drop",
        "What to do with a message when the buffer is full",
        |s, text| {
            let overflow = match text {
                "wait" => Overflow::Wait,
                "spill" => Overflow::Spill,
                _ => Overflow::Drop,
            };
            put(&mut s.config.overflow, Ok(overflow))
        },
    )
    .more("drop: drop and count it. wait: stop reading until there is room; the server disconnects the group when its own buffer is full. spill: move it to a stream and process it later"),
    Opt::new(
        "spill-key",
        Kind::Value("NAME"),
        "",
        "Stream to spill into [default: {messages:processed}:spill, next to the output]",
        |s, text| put(&mut s.config.spill_key, Ok(Some(text.to_owned()))),
    ),
    Opt::new(
        "spill-max",
        Kind::Value("N"),
        "1000000",
        "Approximate number of messages that the spill may hold. Further messages are dropped and counted",
        |s, text| put(&mut s.config.spill_max, number(text)),
    ),
    Opt::new(
        "max-payload",
        Kind::Value("SIZE"),
        "1MiB",
        "Longest payload of a message from a channel. Messages with longer ones are rejected",
        |s, text| put(&mut s.config.max_payload, size(text)),
    ),
];
