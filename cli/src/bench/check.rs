//! The check of each run: compares the output with what was published.

use std::collections::HashMap;

use anyhow::bail;
use redis::{FromRedisValue, Value, cmd};

use super::environment::Environment;
use super::numbering::Numbering;
use super::role::protocol::{INPUT, SPILL};

/// What is in the output, independent of the group's ledger.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Published, and not in the output.
    pub(crate) lost: u64,
    /// Entries after the first one of the same message.
    pub(crate) duplicated: u64,
}

/// Reads a whole stream, page by page. `is_here` tells whether a message belongs there.
///
/// # Errors
/// If it has an entry of another run, or the server cannot be read.
pub(crate) async fn stream(
    environment: &mut Environment,
    stream: &str,
    numbering: Numbering,
    seen: &mut Seen,
    is_here: impl Fn(u64) -> bool,
) -> anyhow::Result<()> {
    const PAGE: usize = 2000;
    let mut from = "-".to_owned();
    loop {
        let mut page = cmd("XRANGE");
        page.arg(stream).arg(&from).arg("+").arg("COUNT").arg(PAGE);
        let entries: Vec<(String, HashMap<String, Vec<u8>>)> = environment.ask(&page).await?;
        for (id, fields) in &entries {
            let number = fields.get("message_id").and_then(|id| numbering.number(id));
            if !number.is_some_and(|number| is_here(number) && seen.add(number)) {
                bail!(
                    "the entry {id} of {stream} is not of this run: another client publishes to the bench's channel or \
                     appends to its stream; run one bench at a time"
                );
            }
        }
        match entries.last() {
            Some((last, _)) if entries.len() == PAGE => from = format!("({last}"),
            _ => return Ok(()),
        }
    }
}

/// How many entries of the input are not acknowledged or not read.
pub(crate) async fn pending(environment: &mut Environment) -> anyhow::Result<u64> {
    let groups: Vec<HashMap<String, Value>> = environment.ask(cmd("XINFO").arg("GROUPS").arg(INPUT)).await?;
    let number = |group: &HashMap<String, Value>, name: &str| {
        let value = group.get(name).cloned();
        // Redis has no lag before 7.0.
        value.and_then(|value| u64::from_redis_value(value).ok()).unwrap_or(0)
    };
    Ok(groups.iter().map(|group| number(group, "pending") + number(group, "lag")).sum())
}

/// How many messages are in the spill.
pub(crate) async fn spilled(environment: &mut Environment) -> anyhow::Result<u64> {
    environment.ask(cmd("XLEN").arg(SPILL)).await
}

/// A bit for each message that was published.
pub(crate) struct Seen {
    bits: Vec<u64>,
    published: u64,
    distinct: u64,
    duplicated: u64,
}

impl Seen {
    pub(crate) fn new(published: u64) -> Self {
        let bits = vec![0; usize::try_from(published.div_ceil(64)).unwrap_or(usize::MAX)];
        Self { bits, published, distinct: 0, duplicated: 0 }
    }

    /// Counts a message. `false` if it was not published.
    fn add(&mut self, number: u64) -> bool {
        if number >= self.published {
            return false;
        }
        let (word, bit) = (&mut self.bits[(number / 64) as usize], 1 << (number % 64));
        if *word & bit == 0 {
            self.distinct += 1;
        } else {
            self.duplicated += 1;
        }
        *word |= bit;
        true
    }

    pub(crate) fn found(&self) -> Found {
        Found { lost: self.published - self.distinct, duplicated: self.duplicated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_messages_are_lost_and_repeated_ones_are_duplicated() {
        let mut seen = Seen::new(130);
        assert!((0..129).all(|number| seen.add(number)));
        assert!(seen.add(64) && seen.add(64) && seen.add(0));
        assert_eq!(seen.found(), Found { lost: 1, duplicated: 3 });
    }

    #[test]
    fn a_number_that_was_not_published_is_foreign() {
        let mut seen = Seen::new(65);
        assert!(!seen.add(65));
        assert!(!seen.add(u64::MAX));
        assert!((0..65).all(|number| seen.add(number)));
        assert_eq!(seen.found(), Found::default());
    }
}
