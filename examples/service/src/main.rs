//! A service that reads orders from Redis, asks another service for their prices over HTTP, and appends the priced
//! orders to a stream. It reports its health on `/livez` and `/readyz`.
//!
//! Start a Redis server, and a service that answers `GET /prices/tea` with a number of cents. Then run
//! `REDIS_URL=redis://localhost:6379 PRICES_URL=http://localhost:8000 cargo run`, and publish an order:
//! `redis-cli PUBLISH messages:published '{"id":"7","article":"tea","quantity":2}'`.

use std::env;

use order_prices::{health, orders, prices::Prices};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let setting = |name, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let redis = setting("REDIS_URL", "redis://localhost:6379");
    let prices = Prices::new(setting("PRICES_URL", "http://localhost:8000"));
    let health_addr = setting("HEALTH_ADDR", "127.0.0.1:8080");

    // Before the start: if the address is in use, nothing was received yet.
    let listener = TcpListener::bind(&health_addr).await?;
    // `None`: it was to stop before Redis was there.
    let Some(group) = orders::group(redis, prices).start_until(stop_signal()).await? else { return Ok(()) };
    let handle = group.handle().clone();
    let health = tokio::spawn(health::serve(listener, move || health::readiness(&handle.figures())));

    // The group ends by itself only after a permanent failure.
    let ended = group.run_until(stop_signal()).await;
    health.abort();
    println!("{}", ended?);
    Ok(())
}

/// Ctrl-C, or the SIGTERM that supervisors send.
async fn stop_signal() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
