//! Which of the shards a message goes to.

use uuid::Uuid;

use super::payload::Payload;
use super::target::{Sharding, Target};

/// Deals messages to the names of a target, by turns or by a member of each.
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

    /// The place among the names for the message with this id.
    pub(crate) fn name_for(&mut self, payload: &mut Payload, id: Uuid) -> usize {
        match self.by {
            // That there is such a member was looked at with the options; all shards get messages then.
            Some((sharding, member)) => {
                let value = payload.member(member, id).unwrap_or_default();
                sharding.shards.of(&value) as usize
            }
            None => {
                let name = self.next;
                self.next = (name + 1) % self.names;
                name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use redis_consumer_group::Shards;

    use super::*;

    fn dealt(by: Option<&str>) -> Vec<usize> {
        let mut target = Target::channel("c");
        target.sharding = Some(Sharding { shards: Shards::new(4), by: by.map(str::to_owned) });
        let (mut deal, mut payload) = (Deal::new(&target, 4), Payload::new(200));
        (0..100).map(|_| deal.name_for(&mut payload, Uuid::new_v4())).collect()
    }

    #[test]
    fn without_a_member_the_shards_take_turns() {
        assert_eq!(dealt(None)[..6], [0, 1, 2, 3, 0, 1]);
    }

    #[test]
    fn a_member_of_one_value_goes_to_one_shard_and_one_of_many_values_to_all() {
        let padding = dealt(Some("padding"));
        assert!(padding.iter().all(|name| *name == padding[0]), "{padding:?}");
        let ids = dealt(Some("message_id"));
        assert!((0..4).all(|shard| ids.contains(&shard)), "{ids:?}");
    }
}
