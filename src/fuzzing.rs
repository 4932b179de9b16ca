//! What `fuzz/` needs of the inside. Exists only under `--cfg fuzzing`.

use crate::redis::frames::feed::{feed, pieces};

/// Checks that `bytes` tell a scanner the same, cut into pieces of `lengths` or not.
///
/// # Panics
///
/// When they do not, or when the scanner holds more than it should.
pub fn cuts_do_not_matter(channel: &[u8], max_payload: usize, bytes: &[u8], lengths: &[u8]) {
    let whole = feed(channel, max_payload, [bytes]);
    let cut = feed(channel, max_payload, pieces(bytes, lengths));
    assert_eq!(whole, cut);
}

/// Reads `bytes` as a reply; whether it is one is not checked.
pub fn reply(bytes: &[u8]) {
    let _ = crate::redis::reply::parse(bytes);
}
