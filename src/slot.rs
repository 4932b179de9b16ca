//! The slots of a cluster, and the names of helper keys in the slot of a user's key.
//!
//! A Redis Cluster hashes the text between the first `{` of a key and the first `}` after it, if that is not empty, and
//! otherwise the whole key (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).

use crc::{CRC_16_XMODEM, Crc};

/// The number of slots in a cluster.
pub(crate) const SLOTS: u16 = 16384;

/// The slot of a key or of a sharded channel.
pub(crate) fn of(key: &str) -> u16 {
    const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
    CRC.checksum(tag(key).unwrap_or(key).as_bytes()) % SLOTS
}

/// The helper key `suffix` of `key`, in the same slot.
///
/// | `key` | has a tag | helper key |
/// |---|---|---|
/// | `consumer:ids` | no, so the whole key becomes the tag | `{consumer:ids}:leases` |
/// | `{app}:ids` | yes, it is kept | `{app}:ids::leases` |
///
/// The second form has two colons, so that two keys never share a helper key: with one colon, `{x}:leases` would belong
/// to `x` and to `{x}`. A suffix begins with a letter and contains neither `::` nor braces.
pub(crate) fn beside(key: &str, suffix: &str) -> String {
    match tag(key) {
        Some(_) => format!("{key}::{suffix}"),
        None => format!("{{{key}}}:{suffix}"),
    }
}

/// The part of a key that a cluster hashes instead of the whole key.
fn tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashed(key: &str) -> &str {
        tag(key).unwrap_or(key)
    }

    #[test]
    fn slots_are_those_of_a_cluster() {
        // As returned by CLUSTER KEYSLOT.
        assert_eq!(of("123456789"), 12739);
        assert_eq!(of("foo"), 12182);
        assert_eq!(of("a{foo}b{c}"), 12182);
        assert_eq!(of("foo{}"), 5542);
    }

    #[test]
    fn a_key_without_a_tag_becomes_the_tag_of_its_helpers() {
        assert_eq!(beside("consumer:ids", "leases"), "{consumer:ids}:leases");
        assert_eq!(beside("a{b", "leases"), "{a{b}:leases");
    }

    #[test]
    fn a_key_that_has_a_tag_keeps_it() {
        assert_eq!(beside("{app}:ids", "leases"), "{app}:ids::leases");
        assert_eq!(beside("a{x}b", "lane:1"), "a{x}b::lane:1");
    }

    #[test]
    fn a_key_and_the_tag_of_the_same_name_have_helpers_of_their_own() {
        assert_ne!(beside("x", "leases"), beside("{x}", "leases"));
        assert_ne!(beside("{x}", "leases"), beside("{x}:", "leases"));
    }

    proptest! {
        #[test]
        fn a_helper_shares_the_slot_of_every_name_that_has_no_stray_brace(key in "[ab:{}]{1,8}") {
            let helper = beside(&key, "leases");
            // `{a}b}:leases` would have the tag `a`, and `{x:{}}:leases` the tag `x:{`.
            let stray = tag(&key).is_none() && key.contains('}');
            prop_assert_eq!(hashed(&helper) == hashed(&key), !stray);
        }

        #[test]
        fn two_keys_never_share_a_helper(one in "[a:{}]{0,6}", other in "[a:{}]{0,6}") {
            prop_assume!(one != other);
            prop_assert_ne!(beside(&one, "leases"), beside(&other, "leases"));
        }
    }
}
