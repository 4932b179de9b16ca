//! A group with a closure as its processor.
//!
//! Start a server on port 6379, then run `cargo run --example closure`, and publish from another terminal:
//! `redis-cli PUBLISH messages:published hello`.

#![allow(clippy::print_stdout, reason = "a program prints")]

use redis_consumer_group::{ConsumerGroup, Record};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());
    let group = ConsumerGroup::builder(url)
        .consumers(4)
        .processor(|consumer, message| async move {
            // A payload that is not text is rejected.
            let text = message.text()?.to_uppercase();
            Ok(Record::new().field("text", text).field("by", consumer.id()))
        })
        .start()
        .await?;

    println!("{}", group.run_until(tokio::signal::ctrl_c()).await?);
    Ok(())
}
