//! The default processor: each member of a JSON object becomes a field; the fields of a stream entry are copied.

mod plain;
mod serialize;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde_json::value::RawValue;

pub use self::serialize::RecordError;
use super::{Failure, Outcome, Processor};
use crate::consumer::Consumer;
use crate::message::Message;
use crate::record::{Record, bulk_bytes, fields};

/// Parses the payload as a JSON object, and adds `consumer_id`. An entry of a stream already has fields: they are
/// copied unchanged, unless the only field is the payload.
///
/// Strings become values without their quotes and escapes. Numbers, booleans, null, arrays and objects become their
/// JSON text, unchanged. If several members have the same name, the last one counts. `consumer_id` replaces a member
/// with that name. A payload that is not an object is rejected.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct JsonProcessor;

const CONSUMER_ID: &str = "consumer_id";

impl JsonProcessor {
    /// The default processor.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Processor for JsonProcessor {
    type Error = Failure;

    async fn process(&self, consumer: &Consumer, message: Message) -> Result<Outcome, Failure> {
        match message.encoded_fields() {
            Some((encoded, count)) => Ok(Outcome::Record(copied(encoded, count, consumer.id()))),
            None => record(message.payload(), consumer.id()).map(Outcome::Record).map_err(Failure::Reject),
        }
    }
}

/// The record of an entry's fields and the consumer id.
fn copied(encoded: &[u8], count: usize, consumer_id: &str) -> Record {
    if fields(encoded, count).any(|(name, _)| name == CONSUMER_ID.as_bytes()) {
        return written(fields(encoded, count), consumer_id);
    }
    Record::of_encoded(encoded, count, bulk_bytes(CONSUMER_ID.len()) + bulk_bytes(consumer_id.len()))
        .bytes(CONSUMER_ID, consumer_id)
}

fn record(payload: &[u8], consumer_id: &str) -> Result<Record, String> {
    if let Some(members) = plain::members(payload) {
        return Ok(written(members.iter().map(|(name, value)| (*name, *value)), consumer_id));
    }
    let text = std::str::from_utf8(payload).map_err(|error| {
        format!("the payload is not UTF-8: invalid byte at position {}", error.valid_up_to())
    })?;
    let members = members(text).map_err(|error| {
        if error.is_data() {
            "the payload is JSON, but not an object".to_owned()
        } else {
            format!("the payload is not JSON: {error}")
        }
    })?;
    let values: Result<Vec<_>, _> = members.iter().map(|(_, value)| field_value(value)).collect();
    let values = values.map_err(|error| format!("the payload has an invalid string: {error}"))?;
    let names = members.iter().map(|(name, _)| name.as_bytes());
    Ok(written(names.zip(values.iter().map(|value| value.as_bytes())), consumer_id))
}

/// The members of an object. If several have the same name, the last one counts.
fn members(text: &str) -> serde_json::Result<Vec<(Cow<'_, str>, &RawValue)>> {
    let Members(mut members) = serde_json::from_str(text)?;
    keep_the_last(&mut members);
    Ok(members)
}

/// The record of these members and the consumer id.
fn written<'a>(members: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone, consumer_id: &str) -> Record {
    let bytes = |name: &[u8], value: &[u8]| bulk_bytes(name.len()) + bulk_bytes(value.len());
    let (name, value) = (CONSUMER_ID.as_bytes(), consumer_id.as_bytes());
    let fields = members.filter(|(member, _)| *member != name);
    let all = fields.clone().fold(bytes(name, value), |all, (name, value)| all + bytes(name, value));
    let mut record = Record::with_capacity(all);
    for (name, value) in fields {
        record.push(name, value);
    }
    record.push(name, value);
    record
}

/// The content of a string, or the JSON text of any other value.
fn field_value(value: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    let text = value.get();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        None => Ok(Cow::Borrowed(text)),
        Some(content) if !content.contains('\\') => Ok(Cow::Borrowed(content)),
        Some(_) => serde_json::from_str(text).map(Cow::Owned),
    }
}

/// Removes all but the last of the members that share a name.
fn keep_the_last(members: &mut Vec<(Cow<'_, str>, &RawValue)>) {
    // Comparing all pairs is fastest for a few members; for many, an attacker could use it to stall the group.
    const FEW: usize = 16;
    if members.len() <= FEW {
        let mut at = 0;
        while at < members.len() {
            let (earlier, later) = members.split_at(at + 1);
            if later.iter().any(|(name, _)| *name == earlier[at].0) {
                members.remove(at);
            } else {
                at += 1;
            }
        }
    } else {
        let last: HashMap<_, _> =
            members.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        let mut at = 0;
        members.retain(|(name, _)| {
            at += 1;
            last[name] == at - 1
        });
    }
}

/// The members of an object in order, borrowed from the text where possible.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some((Name(name), value)) = map.next_entry()? {
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

/// The name of a member. `Cow` itself never borrows when it is deserialized.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields_of(payload: &str) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let record = record(payload.as_bytes(), "me").unwrap();
        record.iter().map(|(field, value)| (text(field), text(value))).collect()
    }

    fn expect(payload: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(f, v)| ((*f).to_owned(), (*v).to_owned())).collect();
        assert_eq!(fields_of(payload), expected, "{payload}");
    }

    fn reason(payload: impl AsRef<[u8]>) -> String {
        record(payload.as_ref(), "me").unwrap_err()
    }

    #[test]
    fn the_fields_of_an_entry_are_copied_and_a_consumer_id_among_them_is_replaced() {
        let entry = Record::new().bytes("a", [0, 255]).field("b", "").field("a", "2");
        let copied = |entry: &Record| copied(entry.encoded(), entry.len(), "me");
        assert_eq!(copied(&entry), entry.clone().field("consumer_id", "me"));
        assert_eq!(copied(&entry.clone().field("consumer_id", "other")), entry.field("consumer_id", "me"));
    }

    #[test]
    fn each_member_becomes_a_field_and_the_consumer_is_added() {
        expect(
            r#"{"message_id":"67e5","x":"y"}"#,
            &[("message_id", "67e5"), ("x", "y"), ("consumer_id", "me")],
        );
    }

    #[test]
    fn an_empty_object_still_makes_an_entry() {
        expect("{}", &[("consumer_id", "me")]);
        expect(" \n{ } ", &[("consumer_id", "me")]);
    }

    #[test]
    fn everything_but_a_string_keeps_its_text() {
        expect(
            r#"{"a":1e3,"b":1234567890123456789012345678901234567890,"c":true,"d":null,"e":[1, 2],"f":{"x" : "é"}}"#,
            &[
                ("a", "1e3"),
                ("b", "1234567890123456789012345678901234567890"),
                ("c", "true"),
                ("d", "null"),
                ("e", "[1, 2]"),
                ("f", r#"{"x" : "é"}"#),
                ("consumer_id", "me"),
            ],
        );
    }

    #[test]
    fn escapes_in_names_and_strings_are_resolved() {
        expect(r#"{"\u0061\n":"\"\u00e9\ud83d\ude00\\"}"#, &[("a\n", "\"é😀\\"), ("consumer_id", "me")]);
        expect(r#"{"":""}"#, &[("", ""), ("consumer_id", "me")]);
    }

    #[test]
    fn the_last_of_several_members_with_the_same_name_counts() {
        expect(r#"{"a":1,"b":2,"\u0061":3}"#, &[("b", "2"), ("a", "3"), ("consumer_id", "me")]);
        let many: Vec<_> = (0..50).map(|n| format!(r#""m{}":{n}"#, n % 20)).collect();
        let fields = fields_of(&format!("{{{}}}", many.join(",")));
        assert_eq!(fields.len(), 21);
        assert!(
            fields.contains(&("m9".into(), "49".into())) && fields.contains(&("m10".into(), "30".into()))
        );
    }

    #[test]
    fn a_consumer_id_that_was_there_is_replaced() {
        expect(r#"{"consumer_id":"somebody","a":1}"#, &[("a", "1"), ("consumer_id", "me")]);
    }

    #[test]
    fn the_reason_says_what_is_wrong() {
        assert!(reason(r#"{"a":"#).starts_with("the payload is not JSON: EOF"));
        assert!(reason("").starts_with("the payload is not JSON: EOF"));
        assert!(reason("{} x").starts_with("the payload is not JSON: trailing characters"));
        for other in ["[1]", "1", "null", r#""text""#, "true"] {
            assert_eq!(reason(other), "the payload is JSON, but not an object");
        }
        assert_eq!(reason(b"{\"a\":\"\xff\"}"), "the payload is not UTF-8: invalid byte at position 6");
        assert!(reason(r#"{"a":"\ud800"}"#).starts_with("the payload has an invalid string: "));
    }

    #[test]
    fn deep_nesting_is_valid_and_costs_no_stack() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(300_000), "]".repeat(300_000));
        assert_eq!(fields_of(&deep)[0].1.len(), 600_000);
    }

    /// Texts that are almost plain objects.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            8 => proptest::sample::select(vec![
                "{", "}", "\"", ":", ",", "\"a\":\"b\"", "\"c\":", "-1.50", "0", "007", "1e3", "true", "false", "null", "nul",
                "consumer_id", "\\", "[", "]", " ", "\n", "\u{7f}", "é", "\"\"",
            ]).prop_map(str::to_owned),
            1 => "[ -~]{0,4}",
        ];
        let member = prop_oneof![
            (r#""[a-c]{0,2}""#, r#""[ -!#-\[\]-~]{0,9}"|-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?|true|null"#)
                .prop_map(|(name, value)| format!("{name}:{value}")),
            piece.clone(),
        ];
        prop_oneof![
            proptest::collection::vec(member, 0..10).prop_map(|members| format!("{{{}}}", members.join(","))),
            proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat()),
        ]
    }

    proptest! {
        #[test]
        fn a_plain_object_is_read_as_any_other(text in text()) {
            if let Some(members) = plain::members(text.as_bytes()) {
                let plain: Vec<_> = members.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
                let Members(members) = serde_json::from_str(&text).unwrap();
                let read: Vec<_> = members
                    .iter()
                    .map(|(name, value)| (name.as_bytes().to_vec(), field_value(value).unwrap().as_bytes().to_vec()))
                    .collect();
                prop_assert_eq!(plain, read);
            }
        }
    }
}
