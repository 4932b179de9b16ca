//! Groups on a cluster, with real servers: slots move, nodes die and come back, and no shard waits for another.
//!
//! These tests mostly wait, so run them in parallel: `RUST_TEST_THREADS=4`. Tests in a module `long` are ignored;
//! `scripts/test --long` runs them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![allow(clippy::print_stdout, reason = "how long it took, for those who want to know: -- --nocapture")]

mod fixture;
mod load;
mod pauses;
mod proxy;
#[path = "../support/mod.rs"]
mod support;

mod acl;
mod failures;
mod losses;
mod moves;
mod refusals;
mod shards;
mod sources;
mod tls;
