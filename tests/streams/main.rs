//! Groups that read a stream, with real servers and real processes: every entry ends in the output once, even if any of
//! them dies at any time.
//!
//! These tests mostly wait, so run them in parallel: `RUST_TEST_THREADS=4`. Tests in a module `long` are ignored;
//! `scripts/test --long` runs them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]
#![allow(clippy::print_stderr, reason = "a test that failed says by which chance")]

mod chance;
mod fixture;
mod line;
mod process;
#[path = "../support/mod.rs"]
mod support;

mod attempts;
mod counts;
mod deletions;
mod killing;
mod lanes;
mod refusals;
mod restarts;
mod sharing;
