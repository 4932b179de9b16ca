//! Makes a record from a value that implements `Serialize`.

use serde::Serialize;

use super::{field_value, members, plain};
use crate::record::Record;

/// Why a value cannot become a record. As a [`Failure`](crate::Failure) it rejects the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The value cannot be written as JSON.
    #[error("the value cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The value is a number, a string or a list.
    #[error("only a struct or a map can become a record")]
    NoFields,
}

impl Record {
    /// A record with a field for each field of a struct, or for each entry of a map. Strings become values directly;
    /// all other values become their JSON text, as in the [`JsonProcessor`](crate::JsonProcessor).
    ///
    /// ```
    /// use redis_consumer_group::Record;
    ///
    /// #[derive(serde::Serialize)]
    /// struct Order {
    ///     id: String,
    ///     articles: Vec<u32>,
    ///     #[serde(skip_serializing_if = "Option::is_none")] // otherwise `null`
    ///     note: Option<String>,
    /// }
    ///
    /// let record = Record::from_serialize(&Order { id: "7".to_owned(), articles: vec![1, 2], note: None })?;
    /// assert_eq!(record, Record::new().field("id", 7).field("articles", "[1,2]"));
    /// # Ok::<_, redis_consumer_group::RecordError>(())
    /// ```
    ///
    /// # Errors
    /// The value has no fields, or cannot be written as JSON.
    pub fn from_serialize(value: &(impl Serialize + ?Sized)) -> Result<Self, RecordError> {
        let json = serde_json::to_string(value).map_err(RecordError::Json)?;
        if let Some(members) = plain::members(json.as_bytes()) {
            return Ok(members.iter().copied().collect());
        }
        if !json.starts_with('{') {
            return Err(RecordError::NoFields);
        }
        let mut record = Self::with_capacity(json.len());
        for (name, value) in members(&json).map_err(RecordError::Json)? {
            record.push(name.as_bytes(), field_value(value).map_err(RecordError::Json)?.as_bytes());
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_of_a_struct_becomes_one_and_nested_values_become_json() {
        #[derive(Serialize)]
        struct Order<'a> {
            id: &'a str,
            size: f32,
            paid: bool,
            note: Option<&'a str>,
            address: Address<'a>,
        }

        #[derive(Serialize)]
        struct Address<'a> {
            city: &'a str,
        }

        let order =
            Order { id: "a\n\"1\"", size: 1.5, paid: true, note: None, address: Address { city: "Köln" } };
        let expected = Record::new()
            .field("id", "a\n\"1\"")
            .field("size", 1.5)
            .field("paid", true)
            .field("note", "null")
            .field("address", r#"{"city":"Köln"}"#);
        assert_eq!(Record::from_serialize(&order).unwrap(), expected);
        assert_eq!(Record::from_serialize(&json!({"a": "b", "c": 1})).unwrap().len(), 2);
    }

    #[test]
    fn a_value_without_fields_is_not_a_record() {
        for value in [json!(1), json!("{}"), json!([{"a": 1}]), json!(null)] {
            assert!(matches!(Record::from_serialize(&value), Err(RecordError::NoFields)), "{value}");
        }
        let keys = std::collections::HashMap::from([((1, 2), 3)]);
        assert!(matches!(Record::from_serialize(&keys), Err(RecordError::Json(_))));
    }
}
