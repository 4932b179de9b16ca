//! `load` against a real server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod messages;
mod outages;
mod overdue;
mod refusals;
mod stops;
