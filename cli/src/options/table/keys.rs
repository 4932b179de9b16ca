//! Options that name channels, streams and keys.

use crate::options::option::{Group, Kind, Opt};
use crate::options::value::{number, optional, put};

pub(super) const GROUP: Group = Group { heading: "Names in Redis", options: OPTIONS };

const OPTIONS: &[Opt] = &[
    Opt::new("input", Kind::Value("NAME"), "messages:published", "Channel or stream to read", |s, text| {
        put(&mut s.config.input, Ok(text.to_owned()))
    }),
    Opt::new(
        "output",
        Kind::Value("NAME"),
        "messages:processed",
        "Stream to append records to",
        |s, text| put(&mut s.config.output, Ok(text.to_owned())),
    ),
    Opt::new(
        "rejected",
        Kind::Value("NAME"),
        "messages:rejected",
        "Stream for messages that could not be processed",
        |s, text| put(&mut s.config.rejected, Ok(text.to_owned())),
    ),
    Opt::new(
        "ids-key",
        Kind::Value("NAME"),
        "consumer:ids",
        "List of the ids of living consumers",
        |s, text| put(&mut s.config.ids_key, Ok(text.to_owned())),
    ),
    Opt::new(
        "maxlen",
        Kind::Value("N"),
        "none",
        "Trim the output to about this many entries; without it, the output only grows",
        |s, text| put(&mut s.config.maxlen, optional(text, number)),
    ),
    Opt::new(
        "rejected-maxlen",
        Kind::Value("N"),
        "none",
        "Trim the rejected stream to about this many entries; without it, the stream only grows",
        |s, text| put(&mut s.config.rejected_maxlen, optional(text, number)),
    ),
];
