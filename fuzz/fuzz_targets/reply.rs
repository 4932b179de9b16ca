//! The reply parser does not panic, whatever the bytes are.
//!
//!     cargo +nightly fuzz run reply -- -dict=fuzz/resp.dict

#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_consumer_group::fuzzing;

fuzz_target!(|data: &[u8]| fuzzing::reply(data));
