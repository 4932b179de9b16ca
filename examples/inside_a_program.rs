//! A group inside a larger Tokio program. It starts with the program's other tasks and runs beside them. It is the
//! first to stop, while the resources that its processor needs still exist.
//!
//! Run `cargo run --example inside_a_program`, and end it with Ctrl-C.

#![allow(clippy::print_stdout, reason = "a program prints")]

use std::time::Duration;

use redis_consumer_group::{ConsumerGroup, Record};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// A part of the program that the processor needs, and that fails now and then.
struct Shop;

impl Shop {
    async fn price_of(&self, article: &str) -> Result<u64, std::io::Error> {
        sleep(Duration::from_millis(2)).await;
        match article.len() {
            0 => Err(std::io::Error::other("the shop does not answer")),
            length => Ok(length as u64 * 100),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://localhost:6379".to_owned());
    let mut group = ConsumerGroup::builder(url)
        .configure(|config| {
            config.consumers = 8;
            config.max_attempts = 3;
            config.processor_timeout = Some(Duration::from_secs(1));
        })
        .processor_with_state(Shop, |shop, consumer, message| async move {
            let article = message.text()?;
            // A network error becomes a retry: three attempts in total.
            let price = shop.price_of(article).await?;
            Ok(Record::new()
                .field("article", article)
                .field("price", price)
                .field("consumer_id", consumer.id()))
        })
        .start()
        .await?;

    let mut report = interval(Duration::from_secs(1));
    report.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // The group ends by itself only after a permanent failure.
            ended = group.join() => {
                println!("{}", ended?);
                break;
            }
            _ = tokio::signal::ctrl_c() => group.stop(),
            _ = report.tick() => {
                let figures = group.handle().figures();
                println!("{} a second; {}", figures.processed_last_second, figures.ledger);
            }
        }
    }
    Ok(())
}
