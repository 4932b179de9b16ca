//! Real faults at real servers, with the ledger as the judge: what is in the output afterwards is compared id
//! by id with what was received. Nothing twice, nothing missing, and what was published and not received is
//! explained by a gap.
//!
//! Most of these tests wait most of the time, so run them side by side: `RUST_TEST_THREADS=4`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod fixture;
mod judge;
mod load;
mod proxy;

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
