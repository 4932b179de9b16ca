//! Chooses the shard of a message.

use serde_json::{Map, Value};

use super::target::{Sharding, Target};

/// Assigns messages to the names of a target: round-robin, or by a member of each message.
pub(crate) struct Deal<'a> {
    by: Option<(&'a Sharding, &'a str)>,
    names: usize,
    next: usize,
}

impl<'a> Deal<'a> {
    pub(crate) fn new(target: &'a Target, names: usize) -> Self {
        let by = target.sharding.as_ref().and_then(|sharding| Some((sharding, sharding.by.as_deref()?)));
        Self { by, names, next: 0 }
    }

    /// The index of the name for this message.
    ///
    /// # Errors
    /// The member that the message lacks.
    pub(crate) fn name_for(&mut self, payload: &[u8]) -> Result<usize, &'a str> {
        match self.by {
            // All shards get messages then (`--only-shards` is excluded), so a shard's number is its index.
            Some((sharding, member)) => {
                Ok(sharding.shards.of(&value(payload, member).ok_or(member)?) as usize)
            }
            None => {
                let name = self.next;
                self.next = (name + 1) % self.names;
                Ok(name)
            }
        }
    }
}

/// The text of a member of a JSON object.
fn value(payload: &[u8], member: &str) -> Option<String> {
    let mut members: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    match members.remove(member)? {
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use redis_consumer_group::Shards;

    use super::*;

    fn target(by: Option<&str>) -> Target {
        let mut target = Target::channel("c");
        target.sharding = Some(Sharding { shards: Shards::new(4), by: by.map(str::to_owned) });
        target
    }

    #[test]
    fn without_a_member_the_shards_take_turns() {
        let target = target(None);
        let mut deal = Deal::new(&target, 4);
        let dealt: Vec<_> = (0..6).map(|_| deal.name_for(b"any bytes").unwrap()).collect();
        assert_eq!(dealt, [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn a_member_of_one_value_goes_to_one_shard_and_one_of_many_values_to_all() {
        let target = target(Some("user"));
        let mut deal = Deal::new(&target, 4);
        let shards: Vec<_> = (0..100)
            .map(|user| {
                let message = |n| format!(r#"{{"n":{n},"user":{user}}}"#);
                let first = deal.name_for(message(1).as_bytes()).unwrap();
                assert_eq!(deal.name_for(message(2).as_bytes()), Ok(first));
                first
            })
            .collect();
        assert!((0..4).all(|shard| shards.contains(&shard)), "{shards:?}");
        let quoted = deal.name_for(br#"{"user":"7"}"#);
        assert_eq!(deal.name_for(br#"{"user":7}"#), quoted, "the text counts, not its type");
    }

    #[test]
    fn a_message_without_the_member_goes_nowhere() {
        let target = target(Some("user"));
        for payload in [&b"{}"[..], b"[]", b"no JSON", b"", b"\xff"] {
            assert_eq!(Deal::new(&target, 4).name_for(payload), Err("user"));
        }
    }
}
