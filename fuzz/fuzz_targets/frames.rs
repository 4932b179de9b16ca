//! The scanner's result must not depend on how the socket's bytes are cut into reads.
//!
//!     cargo +nightly fuzz run frames -- -dict=fuzz/resp.dict

#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_consumer_group::fuzzing;

/// The input begins with the longest allowed payload and the lengths of eight reads.
const HEADER: usize = 9;

fuzz_target!(|data: &[u8]| {
    let Some((&[max_payload, ref lengths @ ..], bytes)) = data.split_first_chunk::<HEADER>() else { return };
    fuzzing::cuts_do_not_matter(b"c", usize::from(max_payload), bytes, lengths);
});
