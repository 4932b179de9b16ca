//! Your own processor type, with state that its consumers share: it appends the first message with each `message_id`
//! and skips the later ones.
//!
//! Run `cargo run --example stateful`, then publish the same message twice:
//! `redis-cli PUBLISH messages:published '{"message_id":"1"}'`.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use redis_consumer_group::{Consumer, ConsumerGroup, Failure, Message, Outcome, Processor, Record};
use serde::Deserialize;

/// Remembers the ids that it has seen. One processor serves all consumers of the group.
#[derive(Default)]
struct Deduplicate {
    seen: Mutex<HashSet<String>>,
}

#[derive(Deserialize)]
struct Order {
    message_id: String,
}

impl Processor for Deduplicate {
    type Error = Failure;

    async fn process(&self, consumer: &Consumer, message: Message) -> Result<Outcome, Failure> {
        // A payload that is not such an object is rejected.
        let order: Order = message.json()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = seen.insert(order.message_id.clone());
        if !is_new {
            return Ok(Outcome::Skip);
        }
        let record = Record::new().field("message_id", &order.message_id).field("consumer_id", consumer.id());
        Ok(record.into())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());
    let group = ConsumerGroup::builder(url).with_processor(Deduplicate::default()).start().await?;
    println!("{}", group.run_until(tokio::signal::ctrl_c()).await?);
    Ok(())
}
