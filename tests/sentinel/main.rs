//! Groups at a service that sentinels watch, with real servers: primaries die, and groups follow.
//!
//! These tests mostly wait, so run them in parallel: `RUST_TEST_THREADS=4`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![allow(clippy::print_stdout, reason = "a test that failed says what the sentinels did")]

mod fixture;
mod load;
#[path = "../support/mod.rs"]
mod support;

mod failovers;
mod passwords;
mod refusals;
mod tls;
