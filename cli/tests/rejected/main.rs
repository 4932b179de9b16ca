//! `rejected list`, `rejected replay` and `rejected clear` against a server.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod clearing;
mod epochs;
mod interruptions;
mod listing;
mod page;
mod replaying;
mod shards;
mod trimming;
mod usage;
