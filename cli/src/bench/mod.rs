//! `bench`: throughput and latency against the number of consumers.
#![expect(dead_code, unused_imports, reason = "the measuring is yet to come")]

pub(crate) mod baseline;
pub(crate) mod output;
pub(crate) mod report;
