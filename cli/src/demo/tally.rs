//! Compares the output with what was published.

use std::collections::HashMap;

use redis::RedisResult;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

/// What is in the output, independent of the group's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tally {
    /// Published messages.
    pub(super) published: u64,
    /// Entries of the stream.
    pub(super) processed: u64,
    /// Messages without an entry.
    pub(super) lost: u64,
    /// Entries after the first one of the same message.
    pub(super) duplicated: u64,
    /// Entries of other messages.
    pub(super) foreign: u64,
    /// Consumers, and the number of entries with their id.
    pub(super) consumers: Vec<(String, u64)>,
}

impl Tally {
    /// Reads the whole stream, page by page.
    pub(super) async fn of_stream(
        connection: &mut MultiplexedConnection,
        stream: &str,
        published: &[Uuid],
        consumers: &[String],
    ) -> RedisResult<Self> {
        const PAGE: usize = 1000;
        let mut count = Count::new(published, consumers);
        let mut from = "-".to_owned();
        loop {
            let entries: Vec<(String, HashMap<String, String>)> = redis::cmd("XRANGE")
                .arg(stream)
                .arg(&from)
                .arg("+")
                .arg("COUNT")
                .arg(PAGE)
                .query_async(connection)
                .await?;
            for (_, fields) in &entries {
                count.add(field(fields, "message_id"), field(fields, "consumer_id"));
            }
            match entries.last() {
                Some((last, _)) if entries.len() == PAGE => from = format!("({last}"),
                _ => return Ok(count.tally()),
            }
        }
    }

    /// Whether each message is in the output once.
    pub(super) fn is_flawless(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.foreign == 0
    }
}

struct Count {
    entries: u64,
    foreign: u64,
    /// Entries of each published message.
    messages: HashMap<Uuid, u64>,
    consumers: Vec<(String, u64)>,
}

impl Count {
    fn new(published: &[Uuid], consumers: &[String]) -> Self {
        Self {
            entries: 0,
            foreign: 0,
            messages: published.iter().map(|id| (*id, 0)).collect(),
            consumers: consumers.iter().map(|id| (id.clone(), 0)).collect(),
        }
    }

    fn add(&mut self, message: &str, consumer: &str) {
        self.entries += 1;
        match message.parse().ok().and_then(|id: Uuid| self.messages.get_mut(&id)) {
            Some(entries) => *entries += 1,
            None => self.foreign += 1,
        }
        match self.consumers.iter_mut().find(|(id, _)| id == consumer) {
            Some((_, entries)) => *entries += 1,
            None => self.consumers.push((consumer.to_owned(), 1)),
        }
    }

    fn tally(self) -> Tally {
        Tally {
            published: self.messages.len() as u64,
            processed: self.entries,
            lost: self.messages.values().filter(|entries| **entries == 0).count() as u64,
            duplicated: self.messages.values().map(|entries| entries.saturating_sub(1)).sum(),
            foreign: self.foreign,
            consumers: self.consumers,
        }
    }
}

fn field<'a>(fields: &'a HashMap<String, String>, name: &str) -> &'a str {
    fields.get(name).map_or("", String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_messages_are_lost_and_repeated_ones_are_duplicated() {
        let ids: Vec<_> = (0..4).map(|_| Uuid::new_v4()).collect();
        let mut count = Count::new(&ids, &["a".to_owned(), "b".to_owned(), "idle".to_owned()]);
        for (message, consumer) in [(0, "a"), (1, "b"), (1, "a"), (1, "a")] {
            count.add(&ids[message].to_string(), consumer);
        }
        count.add(&Uuid::new_v4().to_string(), "stranger");
        count.add("no id", "b");
        let tally = count.tally();
        assert_eq!((tally.published, tally.processed), (4, 6));
        assert_eq!((tally.lost, tally.duplicated, tally.foreign), (2, 2, 2));
        let consumers = [("a", 3), ("b", 2), ("idle", 0), ("stranger", 1)];
        assert_eq!(tally.consumers, consumers.map(|(id, entries)| (id.to_owned(), entries)));
        assert!(!tally.is_flawless());
    }

    #[test]
    fn each_message_once_is_flawless() {
        let ids = [Uuid::new_v4(), Uuid::new_v4()];
        let mut count = Count::new(&ids, &[]);
        for id in &ids {
            count.add(&id.to_string(), "a");
        }
        assert!(count.tally().is_flawless());
    }
}
