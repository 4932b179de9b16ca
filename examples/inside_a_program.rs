//! A group inside of a larger Tokio program: it starts with the program's other tasks, is watched beside them,
//! and is the first to stop, while what its processor needs is still there.
//!
//! `cargo run --example inside_a_program`, and Ctrl-C.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::sync::Arc;
use std::time::Duration;

use redis_consumer_group::{Config, ConsumerGroup, Failure, Record};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Something of the program's own that the processor needs, and that fails now and then.
struct Shop;

impl Shop {
    async fn price_of(&self, article: &[u8]) -> Result<u64, std::io::Error> {
        sleep(Duration::from_millis(2)).await;
        match article.len() {
            0 => Err(std::io::Error::other("the shop does not answer")),
            length => Ok(length as u64 * 100),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let shop = Arc::new(Shop);

    let mut config = Config::default();
    config.consumers = 8;
    config.max_attempts = 3;
    config.processor_timeout = Some(Duration::from_secs(1));
    if let Ok(url) = std::env::var("REDIS_URL") {
        config.address = url.parse()?;
    }
    let mut group = ConsumerGroup::from_config(config)
        .processor(move |consumer, message| {
            let shop = shop.clone();
            async move {
                // An error of any kind: try again later, three times in all.
                let price = shop.price_of(message.payload()).await?;
                Ok::<_, Failure>(
                    Record::new()
                        .field("article", message.payload())
                        .field("price", price.to_string())
                        .field("consumer_id", consumer.id()),
                )
            }
        })
        .start()
        .await?;

    let mut report = interval(Duration::from_secs(1));
    report.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // Ends by itself only when something fails for good.
            ended = group.join() => {
                println!("{}", ended?);
                break;
            }
            _ = tokio::signal::ctrl_c() => group.stop(),
            _ = report.tick() => println!("{} a second; {}", group.processed_last_second(), group.ledger()),
        }
    }
    Ok(())
}
