//! Internal parts for `fuzz/`. Only under `--cfg fuzzing`.

use crate::redis::frames::feed::{feed, pieces};

/// Checks that a scanner reads the same from `bytes` whether they are cut into pieces of `lengths` or not.
///
/// # Panics
///
/// When the results differ, or when the scanner holds more than it should.
pub fn cuts_do_not_matter(channel: &[u8], max_payload: usize, bytes: &[u8], lengths: &[u8]) {
    let whole = feed(channel, max_payload, [bytes]);
    let cut = feed(channel, max_payload, pieces(bytes, lengths));
    assert_eq!(whole, cut);
}

/// Parses `bytes` as a reply. The result is ignored: only a panic is a failure.
pub fn reply(bytes: &[u8]) {
    let _ = crate::redis::reply::parse(bytes);
}
