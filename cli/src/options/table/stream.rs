//! Options for a stream as the source.

use redis_consumer_group::Trim;

use crate::options::option::{Group, Kind, Opt};
use crate::options::value::{begin, duration, optional, put, switch};

pub(super) const GROUP: Group = Group { heading: "Stream as the source", options: OPTIONS };

const OPTIONS: &[Opt] = &[
    Opt::new(
        "group",
        Kind::Value("NAME"),
        "processors",
        "Consumer group of the stream. Group and stream are created if they do not exist",
        |s, text| put(&mut s.config.stream.group, Ok(text.to_owned())),
    ),
    Opt::new(
        "from",
        Kind::Value("WHERE"),
        "beginning",
        "Where a newly created group starts: beginning, new (entries appended from then on), or after the entry with this id",
        |s, text| put(&mut s.config.stream.begin_at, begin(text)),
    ),
    Opt::new(
        "payload-field",
        Kind::Value("NAME"),
        "payload",
        "Field that holds a whole JSON object if it is an entry's only field. The fields of other entries are the members",
        |s, text| put(&mut s.config.stream.payload_field, Ok(text.to_owned())),
    ),
    Opt::new(
        "with-source-id",
        Kind::Switch,
        "false",
        "Add the field source_id to each output entry: the id of the input entry",
        |s, text| put(&mut s.config.stream.with_source_id, switch(text)),
    ),
    Opt::new(
        "claim-foreign-after",
        Kind::Value("TIME"),
        "none",
        "Take over entries from other programs' consumers in the group once they have been idle for this long",
        |s, text| put(&mut s.config.stream.claim_foreign_after, optional(text, duration)),
    ),
    Opt::new(
        "trim",
        Kind::Choice(&["never", "acknowledged"]),
        "never",
        "When to remove entries of the input: never, or once every group of the stream has acknowledged them",
        |s, text| {
            let acknowledged = text == "acknowledged";
            put(&mut s.config.stream.trim, Ok(if acknowledged { Trim::Acknowledged } else { Trim::Never }))
        },
    ),
];
