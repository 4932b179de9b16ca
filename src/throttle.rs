//! Limits warnings that may concern every single message: the first is logged at once, the next ones together every few
//! seconds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Adds up occurrences and releases the sum from time to time, with the latest example. None is lost: the caller of
/// `add` must call [`rest`](Self::rest) after [`EVERY`](Self::EVERY), and at the end.
#[derive(Debug)]
pub(crate) struct Throttle<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    /// When a sum was last logged.
    logged: Option<Instant>,
    /// What is not logged yet.
    delayed: Option<(u64, T)>,
}

/// What to do about an occurrence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision<T> {
    /// Log this sum and this example.
    LogNow(u64, T),
    /// The first occurrence that is delayed: call `rest` later.
    LogLater,
    /// An earlier call has already returned `LogLater`.
    AlreadyDelayed,
}

impl<T> Default for Throttle<T> {
    fn default() -> Self {
        Self(Mutex::new(State { logged: None, delayed: None }))
    }
}

impl<T> Throttle<T> {
    pub(crate) const EVERY: Duration = Duration::from_secs(3);

    /// Adds occurrences.
    pub(crate) fn add(&self, count: u64, example: T) -> Decision<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = state.delayed.take().map(|(count, _)| count);
        let sum = before.unwrap_or(0) + count;
        if state.logged.is_some_and(|at| at.elapsed() < Self::EVERY) {
            state.delayed = Some((sum, example));
            return if before.is_none() { Decision::LogLater } else { Decision::AlreadyDelayed };
        }
        state.logged = Some(Instant::now());
        Decision::LogNow(sum, example)
    }

    /// Takes the sum that is not logged yet.
    pub(crate) fn rest(&self) -> Option<(u64, T)> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = state.delayed.take()?;
        state.logged = Some(Instant::now());
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_event_is_logged_at_once_and_the_others_together() {
        let throttle = Throttle::default();
        assert_eq!(throttle.add(1, 'a'), Decision::LogNow(1, 'a'));
        assert_eq!(throttle.add(2, 'b'), Decision::LogLater);
        assert_eq!(throttle.add(3, 'c'), Decision::AlreadyDelayed);
        tokio::time::sleep(Throttle::<char>::EVERY).await;
        assert_eq!(throttle.add(4, 'd'), Decision::LogNow(9, 'd'));
        assert_eq!(throttle.rest(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_is_returned_on_request_and_then_counts_as_logged() {
        let throttle = Throttle::default();
        assert_eq!(throttle.add(1, 'a'), Decision::LogNow(1, 'a'));
        assert_eq!(throttle.add(2, 'b'), Decision::LogLater);
        assert_eq!(throttle.rest(), Some((2, 'b')));
        assert_eq!(throttle.add(3, 'c'), Decision::LogLater);
    }
}
