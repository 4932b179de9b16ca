//! Precise waits of a thread. Moments are those of [`clock::now`].
//!
//! Tokio's timer is up to a millisecond late and a sleeping thread 0.2 ms: too much for thousands of messages a second. So
//! a thread sleeps until shortly before the moment, and spins for the rest.

use std::thread;
use std::time::Duration;

use crate::clock;

/// ns of a wait that are spent spinning.
pub(crate) const SPIN: u64 = 200_000;

/// Waits precisely. Returns false if it ended early, because `is_over` is true after a wake-up of the thread.
pub(crate) fn wait_until(moment: u64, is_over: impl Fn() -> bool) -> bool {
    let slept = sleep_until(moment.saturating_sub(SPIN), is_over);
    while slept && clock::now() < moment {
        std::hint::spin_loop();
    }
    slept
}

/// Waits without spinning. Ends early as [`wait_until`].
pub(crate) fn sleep_until(moment: u64, is_over: impl Fn() -> bool) -> bool {
    while let Some(left) = moment.checked_sub(clock::now()).filter(|left| *left > 0) {
        thread::park_timeout(Duration::from_nanos(left));
        if is_over() {
            return false;
        }
    }
    true
}

/// By default, Linux wakes a thread up to 50 µs late.
pub(crate) fn precise_sleep() {
    #[cfg(target_os = "linux")]
    // If it fails, messages are slightly later.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}
