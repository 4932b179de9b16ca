//! Real faults at real servers. Each test compares the output with the received messages, id by id: none may be missing
//! or duplicated. A gap must explain each published message that was not received.
//!
//! These tests mostly wait, so run them in parallel: `RUST_TEST_THREADS=4`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod fixture;
mod judge;
mod load;
mod proxy;
#[path = "../support/mod.rs"]
mod support;

mod busy;
mod chaos;
mod commits;
mod cuts;
mod deletions;
mod ends;
mod freezes;
mod processes;
mod refusals;
mod restarts;
mod silence;
mod stops;
mod subscribing;
