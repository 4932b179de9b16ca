//! The content of a message: a JSON object with a unique id, or its members as the fields of an entry.

use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// `{"message_id":"<uuid>"}`, with a member `padding` if more bytes are needed.
///
/// All messages share one buffer: only the id changes.
pub(crate) struct Payload {
    bytes: Vec<u8>,
}

impl Payload {
    /// The length of a payload without padding.
    pub(crate) const SHORTEST: usize = BEGIN.len() + Hyphenated::LENGTH + END.len();

    /// A payload of `about` bytes. It is a little longer if that leaves too little room for the member `padding`.
    pub(crate) fn new(about: usize) -> Self {
        let mut bytes = BEGIN.as_bytes().to_vec();
        bytes.resize(BEGIN.len() + Hyphenated::LENGTH, b'0');
        if about > Self::SHORTEST {
            bytes.extend_from_slice(PADDING.as_bytes());
            bytes.resize((about - END.len()).max(bytes.len()), b'.');
        }
        bytes.extend_from_slice(END.as_bytes());
        Self { bytes }
    }

    /// The payload with this id.
    pub(crate) fn with_id(&mut self, id: Uuid) -> &[u8] {
        id.as_hyphenated().encode_lower(&mut self.bytes[BEGIN.len()..]);
        &self.bytes
    }

    /// The members of the object with this id as the fields of an entry; names and values alternate.
    ///
    /// The values are as long as in the object, so a group has the same work with any source. Without the syntax of
    /// JSON, the fields are 7 bytes shorter than the object, or 13 bytes if it is padded.
    pub(crate) fn fields_with_id(&mut self, id: Uuid) -> Vec<&[u8]> {
        const ID_END: usize = BEGIN.len() + Hyphenated::LENGTH;
        let bytes = self.with_id(id);
        let mut fields = vec![&b"message_id"[..], &bytes[BEGIN.len()..ID_END]];
        if bytes.len() > Self::SHORTEST {
            fields.extend([&b"padding"[..], &bytes[ID_END + PADDING.len()..bytes.len() - END.len()]]);
        }
        fields
    }
}

const BEGIN: &str = r#"{"message_id":""#;
const PADDING: &str = r#"","padding":""#;
const END: &str = r#""}"#;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_payload_is_a_json_object_with_its_id() {
        let id = Uuid::new_v4();
        let mut payload = Payload::new(0);
        assert_eq!(payload.with_id(id), format!(r#"{{"message_id":"{id}"}}"#).as_bytes());
        assert_eq!(payload.bytes.len(), Payload::SHORTEST);
    }

    #[test]
    fn a_padded_payload_has_about_the_bytes_that_were_asked_for() {
        for about in (54..200).chain([4096, 1 << 20]) {
            let mut payload = Payload::new(about);
            let object: Value = serde_json::from_slice(payload.with_id(Uuid::nil())).unwrap();
            assert!(object["padding"].is_string());
            assert!(payload.bytes.len().abs_diff(about) < 13, "{} for {about}", payload.bytes.len());
            assert!(about < 66 || payload.bytes.len() == about, "{} for {about}", payload.bytes.len());
        }
    }

    #[test]
    fn the_fields_of_an_entry_are_the_members_of_the_object() {
        for about in (0..200).chain([4096]) {
            let id = Uuid::new_v4();
            let mut payload = Payload::new(about);
            let object: Value = serde_json::from_slice(payload.with_id(id)).unwrap();
            let bytes = payload.bytes.len();
            let fields = payload.fields_with_id(id);
            let members: serde_json::Map<_, _> = fields
                .chunks(2)
                .map(|member| [member[0], member[1]].map(|text| String::from_utf8(text.to_vec()).unwrap()))
                .map(|[name, value]| (name, Value::from(value)))
                .collect();
            assert_eq!(Value::Object(members), object);
            let less = if about > Payload::SHORTEST { 13 } else { 7 };
            assert_eq!(fields.concat().len(), bytes - less);
        }
    }

    #[test]
    fn each_id_replaces_the_last_one() {
        let mut payload = Payload::new(100);
        let first = payload.with_id(Uuid::new_v4()).to_vec();
        assert_ne!(payload.with_id(Uuid::new_v4()), first);
    }
}
