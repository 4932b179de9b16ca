//! When messages are due, and waiting for that precisely: shared by `load` and `bench`.

mod metronome;
mod schedule;
mod wait;

pub(crate) use self::metronome::Metronome;
pub(crate) use self::schedule::Schedule;
pub(crate) use self::wait::{SPIN, precise_sleep, sleep_until, wait_until};
