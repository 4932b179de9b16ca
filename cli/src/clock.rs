//! Clocks. Unlike Tokio's, their times are valid in other processes too.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// ns since a time that is the same for all processes of this system.
pub(crate) fn now() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// ns of CPU, user and system, that this process has used.
pub(crate) fn process_cpu() -> u64 {
    nanoseconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// ns of CPU that this thread has used.
pub(crate) fn thread_cpu() -> u64 {
    nanoseconds(clock_gettime(ClockId::ThreadCPUTime))
}

/// From one time to a later one, in seconds.
pub(crate) fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1e9
}

fn nanoseconds(time: Timespec) -> u64 {
    // None of these clocks begins before 0.
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
