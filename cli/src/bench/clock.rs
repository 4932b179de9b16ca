//! The clocks of a bench. Tokio's have no meaning in another process.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// ns since a moment that is the same for all processes of this system.
pub(crate) fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// ns of CPU, user and system, that this process has had.
pub(crate) fn process_cpu() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// ns of CPU that this thread has had.
pub(crate) fn thread_cpu() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// From one moment to a later one, in seconds.
pub(crate) fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

fn nanoseconds(time: Timespec) -> u64 {
    // None of these clocks begins before 0.
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
