//! Random choices that a failed test reports by their seed, so that they can be repeated.

use std::ops::Range;
use std::time::Duration;

use uuid::Uuid;

/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Chance {
    seed: u64,
    state: u64,
}

impl Chance {
    /// Uses the seed in `RCG_SEED`, or a new one each time.
    pub(crate) fn new() -> Self {
        let seed = match std::env::var("RCG_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => Uuid::new_v4().as_u64_pair().0,
        };
        Self { seed, state: seed }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn millis(&mut self, range: Range<u64>) -> Duration {
        Duration::from_millis(range.start + self.next() % (range.end - range.start))
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
