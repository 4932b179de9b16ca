//! The rate: how many messages there were in the last second.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A bucket that is exactly this old still counts.
const WINDOW_MS: u64 = 1000;
/// Twice the window: buckets stay for another second, so the sum is exact even if the reader took the time and was then
/// not scheduled for a while.
const SLOTS: usize = 2048;
const COUNT_BITS: u32 = 32;
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

/// Counts in buckets of one millisecond, for any number of threads, without a lock.
///
/// The millisecond `t` is in slot `t % 2048`, which packs a stamp (`t / 2048`) and a count into one word. So one atomic
/// step begins a bucket and discards its predecessor of two seconds ago; nothing has to be cleared, even after a long
/// silence. The stamp suffices for 278 years after the clock's zero.
pub(crate) struct Rate {
    slots: Box<[AtomicU64; SLOTS]>,
}

impl Rate {
    pub(crate) fn new() -> Self {
        Self { slots: Box::new([const { AtomicU64::new(0) }; SLOTS]) }
    }

    /// Counts `n` messages at `now_ms`. A bucket holds at most 2³² − 1.
    pub(crate) fn add(&self, n: u64, now_ms: u64) {
        let slot = &self.slots[index(now_ms)];
        let mine = stamp(now_ms);
        let mut old = slot.load(Relaxed);
        loop {
            let count = match stamp_of(old) {
                newer if newer > mine => return, // Two seconds late: this bucket is outside of every window.
                same if same == mine => count_of(old),
                _ => 0,
            };
            let new = (mine << COUNT_BITS) | count.saturating_add(n).min(MAX_COUNT);
            match slot.compare_exchange_weak(old, new, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(changed) => old = changed,
            }
        }
    }

    /// The sum of the buckets that are 0 to 1000 ms old at `now_ms`.
    pub(crate) fn last_second(&self, now_ms: u64) -> u64 {
        let oldest = now_ms.saturating_sub(WINDOW_MS);
        let (from, to) = (index(oldest), index(now_ms));
        if from <= to {
            return sum(&self.slots[from..=to], stamp(now_ms));
        }
        sum(&self.slots[from..], stamp(oldest)) + sum(&self.slots[..=to], stamp(now_ms))
    }
}

fn sum(slots: &[AtomicU64], stamp: u64) -> u64 {
    slots.iter().map(|slot| slot.load(Relaxed)).filter(|&word| stamp_of(word) == stamp).map(count_of).sum()
}

fn index(ms: u64) -> usize {
    ms as usize % SLOTS
}

fn stamp(ms: u64) -> u64 {
    (ms / SLOTS as u64) & MAX_COUNT
}

fn stamp_of(word: u64) -> u64 {
    word >> COUNT_BITS
}

fn count_of(word: u64) -> u64 {
    word & MAX_COUNT
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bucket_that_is_exactly_a_second_old_still_counts() {
        for t in [0, 1, 47, 2047, 2048, 123_456_789, 1_763_900_000_000] {
            let rate = Rate::new();
            rate.add(1, t);
            rate.add(1, t);
            rate.add(1, t + 10);
            rate.add(1, t + 1000);
            assert_eq!(rate.last_second(t + 1000), 4, "t = {t}");
            assert_eq!(rate.last_second(t + 1001), 2, "t = {t}");
            assert_eq!(rate.last_second(t + 1011), 1, "t = {t}");
            assert_eq!(rate.last_second(t + 2001), 0, "t = {t}");
        }
    }

    #[test]
    fn hours_of_silence_leave_nothing_behind() {
        let rate = Rate::new();
        (0..3000).for_each(|ms| rate.add(7, ms));
        let later = 2048 * 10_000;
        (later..later + 3000).for_each(|ms| assert_eq!(rate.last_second(ms), 0));
    }

    #[test]
    fn a_late_adder_leaves_the_newer_bucket_alone() {
        let rate = Rate::new();
        rate.add(5, 2048 + 10);
        rate.add(9, 10);
        assert_eq!(rate.last_second(2048 + 10), 5);
    }

    #[test]
    fn a_bucket_is_full_before_it_overflows() {
        let rate = Rate::new();
        rate.add(u64::MAX, 1);
        rate.add(u64::MAX, 1);
        rate.add(3, 2);
        assert_eq!(rate.last_second(2), MAX_COUNT + 3);
    }

    #[test]
    fn nothing_is_lost_between_threads_that_count_in_the_same_buckets() {
        const THREADS: u64 = 8;
        const ROUNDS: u64 = 50_000;
        let rate = Rate::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let adders = Vec::from_iter((0..THREADS).map(|_| {
                scope.spawn(|| (0..ROUNDS).for_each(|round| rate.add(1 + round % 3, 5000 + round % 1000)))
            }));
            scope.spawn(|| {
                let mut last = 0;
                while !done.load(Relaxed) {
                    let now = rate.last_second(6000);
                    assert!(now >= last, "the sum went back from {last} to {now}");
                    last = now;
                }
            });
            adders.into_iter().for_each(|adder| adder.join().unwrap());
            done.store(true, Relaxed);
        });
        let each: u64 = (0..ROUNDS).map(|round| 1 + round % 3).sum();
        assert_eq!(rate.last_second(5999), THREADS * each);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list_of_all_additions(
            start in prop_oneof![0_u64..5000, 1_700_000_000_000..1_700_000_005_000_u64],
            steps in proptest::collection::vec((0_u64..5, prop_oneof![
                5 => 0_u64..20, 2 => 900_u64..1100, 1 => 0_u64..10_000], 0_u64..3000), 1..200),
        ) {
            let rate = Rate::new();
            let mut all = Vec::new();
            let mut now = start;
            for (n, step, late) in steps {
                now += step;
                let at = now.saturating_sub(if n == 4 { late } else { 0 });
                rate.add(n, at);
                all.push((n, at));
                let expected: u64 = all.iter().filter(|(_, at)| now - at <= 1000).map(|(n, _)| n).sum();
                prop_assert_eq!(rate.last_second(now), expected);
            }
        }
    }
}
