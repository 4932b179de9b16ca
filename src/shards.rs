//! Shards: several inputs of one kind, each with its own output and its own consumers.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, check};
use crate::slot;

/// The number of shards, their names, and which of them run in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shards {
    /// The number of shards, 1 to 16384. Default: 16.
    pub count: u32,
    /// Whether the number is a hash tag: `messages:published:{0}` instead of `messages:published:0`. With tags, all
    /// keys of a shard are in one slot of a cluster: they move together, and commits go to the node that delivers.
    pub tags: bool,
    /// The shards that run here; the others run elsewhere. Default: all.
    pub only: Option<ShardSet>,
}

/// Some of the shards, as in `0-7` or `0,2,5-9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSet(Vec<u32>);

/// Why a text is not a set of shards.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no shards; write them like 0-7 or 0,2,5-9")]
pub struct ShardSetError(String);

impl Shards {
    /// The number of slots in a cluster.
    pub(crate) const MOST: u32 = slot::SLOTS as u32;

    /// This many shards, all of them here, with plain names.
    #[must_use]
    pub fn new(count: u32) -> Self {
        Self { count, tags: false, only: None }
    }

    /// The name for one of the shards: `messages:published:3`, or with [`tags`](Self::tags) `messages:published:{3}`.
    #[must_use]
    pub fn name(&self, name: &str, shard: u32) -> String {
        if self.tags { format!("{name}:{{{shard}}}") } else { format!("{name}:{shard}") }
    }

    /// The names for the shards that run here, as one text: the first one, and the last one if there are several.
    #[must_use]
    pub fn names(&self, name: &str) -> String {
        let (first, last) = (self.here().next(), self.here().last());
        let names = [first, last.filter(|_| first != last)].into_iter().flatten();
        names.map(|shard| self.name(name, shard)).collect::<Vec<_>>().join(" … ")
    }

    /// The shard for a value. Equal values have the same shard: the slot that `CLUSTER KEYSLOT` returns for the value,
    /// modulo [`count`](Self::count).
    #[must_use]
    pub fn of(&self, value: &str) -> u32 {
        u32::from(slot::of(value)) % self.count.max(1)
    }

    /// The numbers of the shards that run here, in ascending order.
    pub fn here(&self) -> impl Iterator<Item = u32> {
        (0..self.count)
            .filter(|shard| self.only.as_ref().is_none_or(|only| only.0.binary_search(shard).is_ok()))
    }

    /// Checks the numbers, and the names that the shards will have, each with the option that gives it.
    ///
    /// # Errors
    /// [`Error::Config`] for the first invalid number or name.
    pub fn validate<'a>(
        &self,
        names: impl IntoIterator<Item = (&'static str, &'a str)>,
    ) -> Result<(), Error> {
        check("shards", (1..=Self::MOST).contains(&self.count), || {
            format!("{} shards is out of range; use 1 to {}", self.count, Self::MOST)
        })?;
        if let Some(only) = &self.only {
            check("only-shards", !only.is_empty(), || "no shard is left to run here; name one".into())?;
            check("only-shards", only.iter().all(|shard| *shard < self.count), || {
                let last = self.count - 1;
                format!("there are {} shards, numbered 0 to {last}; leave out the others", self.count)
            })?;
        }
        names.into_iter().try_for_each(|(option, name)| {
            check(option, !(self.tags && name.contains(['{', '}'])), || {
                format!(
                    "{name:?} has braces of its own, which keep shard tags from placing the shards; name it without"
                )
            })
        })
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self::new(16)
    }
}

impl ShardSet {
    /// The numbers, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = &u32> {
        self.0.iter()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u32> for ShardSet {
    fn from_iter<I: IntoIterator<Item = u32>>(shards: I) -> Self {
        let mut shards: Vec<_> = shards.into_iter().collect();
        shards.sort_unstable();
        shards.dedup();
        Self(shards)
    }
}

impl FromStr for ShardSet {
    type Err = ShardSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ShardSetError(text.to_owned());
        let mut shards = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().ok().filter(|shard| *shard < Shards::MOST);
            let (first, last) = number(first).zip(number(last)).ok_or_else(error)?;
            if first > last {
                return Err(error());
            }
            shards.extend(first..=last);
        }
        Ok(shards.into_iter().collect())
    }
}

impl fmt::Display for ShardSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|one, next| one + 1 == *next);
        for (at, run) in runs.enumerate() {
            let comma = if at > 0 { "," } else { "" };
            match run {
                [first, .., last] => write!(f, "{comma}{first}-{last}")?,
                run => write!(f, "{comma}{}", run[0])?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_shards_is_written_as_it_is_read() {
        for text in ["0", "0-7", "0,2,5-9", "3-4"] {
            assert_eq!(text.parse::<ShardSet>().unwrap().to_string(), text);
        }
        assert_eq!("5-6,0,1,6".parse::<ShardSet>().unwrap().to_string(), "0-1,5-6");
        for text in ["", "a", "-1", "7-0", "1,,2", "0-99999999", "1-2-3"] {
            assert!(text.parse::<ShardSet>().unwrap_err().to_string().contains("0,2,5-9"), "{text}");
        }
    }

    #[test]
    fn a_tag_puts_all_names_of_a_shard_into_one_slot() {
        let shards = Shards { tags: true, ..Shards::new(4) };
        let slot_of = |name: &str, shard| slot::of(&shards.name(name, shard));
        assert_eq!(slot_of("messages:published", 3), slot_of("messages:processed", 3));
        assert_ne!(slot_of("messages:published", 3), slot_of("messages:published", 2));
        assert_eq!(Shards::new(2).name("ids", 1), "ids:1");
    }

    #[test]
    fn equal_values_come_to_one_shard_and_others_to_all() {
        let shards = Shards::new(7);
        assert_eq!(shards.of("user-1"), u32::from(slot::of("user-1")) % 7);
        let reached: std::collections::BTreeSet<_> =
            (0..200).map(|user| shards.of(&format!("user-{user}"))).collect();
        assert_eq!(reached, (0..7).collect());
    }

    #[test]
    fn only_the_named_shards_run_here() {
        let shards = Shards { only: Some("1,3-9".parse().unwrap()), ..Shards::new(5) };
        assert_eq!(shards.here().collect::<Vec<_>>(), [1, 3, 4]);
        assert_eq!(Shards::new(3).here().count(), 3);
    }
}
