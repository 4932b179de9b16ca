//! Groups that read a stream, with real servers and real processes: whatever dies when, every entry ends in the
//! output once.
//!
//! Most of these tests wait most of the time, so run them side by side: `RUST_TEST_THREADS=4`. Those in a module
//! `long` are ignored, and run by `scripts/test --long`.
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
mod refusals;
mod restarts;
mod sharing;
