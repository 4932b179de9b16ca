//! A processor that never finishes, to test the limit of the buffer: messages that do not fit are dropped and counted,
//! and the memory of the process stays within the limit.
//!
//! ```sh
//! /usr/bin/time -v target/release/examples/stuck redis://localhost:6379 67108864
//! ```
//!
//! Publish to `messages:published` in another terminal. End it with Ctrl-C.

#![allow(clippy::print_stdout, reason = "a program prints")]

use redis_consumer_group::ConsumerGroup;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://localhost:6379".to_owned());
    let buffer = arguments.next().map_or(Ok(64 << 20), |bytes| bytes.parse())?;
    let mut group = ConsumerGroup::builder(url)
        .consumers(4)
        .buffer(buffer)
        .processor(|_, _| async {
            std::future::pending::<()>().await;
            Ok(())
        })
        .start()
        .await?;
    tokio::signal::ctrl_c().await?;
    group.abort();
    println!("{}", group.join().await?);
    Ok(())
}
