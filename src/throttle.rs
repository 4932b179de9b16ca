//! Warnings about what may happen to every single message: at once, and then no more often than every few seconds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Adds up what happens, and lets it be told now and then.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<(Option<Instant>, u64)>);

impl Throttle {
    const EVERY: Duration = Duration::from_secs(3);

    /// Adds what happened. How much there is to tell, if it is time to.
    pub(crate) fn add(&self, count: u64) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, untold) = &mut *state;
        *untold += count;
        if told.is_some_and(|told| told.elapsed() < Self::EVERY) {
            return None;
        }
        *told = Some(Instant::now());
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_the_others_together() {
        let throttle = Throttle::default();
        assert_eq!(throttle.add(1), Some(1));
        assert_eq!(throttle.add(2), None);
        assert_eq!(throttle.add(3), None);
        tokio::time::sleep(Throttle::EVERY).await;
        assert_eq!(throttle.add(4), Some(9));
    }
}
