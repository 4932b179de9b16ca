//! The buffer: a limit on the bytes that waiting messages may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// A limit on bytes, shared by all holders of received messages.
#[derive(Debug)]
pub(crate) struct Buffer {
    limit: usize,
    used: AtomicUsize,
    room: Notify,
}

/// Bytes reserved in a [`Buffer`]. They are released when this is dropped, together with the memory that they stand
/// for.
#[derive(Debug)]
pub(crate) struct Reservation {
    buffer: Arc<Buffer>,
    bytes: usize,
}

impl Buffer {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: AtomicUsize::new(0), room: Notify::new() })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// The bytes that are free now.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    pub(crate) fn try_reserve(self: &Arc<Self>, bytes: usize) -> Option<Reservation> {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .is_ok()
            .then(|| Reservation { buffer: self.clone(), bytes })
    }

    /// Waits until the bytes are free. A reservation larger than the whole buffer waits until the buffer is empty.
    pub(crate) async fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        loop {
            // Registered before the check: a release between the check and the wait still wakes this task.
            let room = self.room.notified();
            if let Some(reservation) = self.try_reserve(bytes) {
                return reservation;
            }
            if bytes > self.limit && self.used() == 0 {
                return self.reserve_beyond(bytes);
            }
            room.await;
        }
    }

    /// Reserves the bytes even beyond the limit: for a reservation that is larger than the whole buffer.
    pub(crate) fn reserve_beyond(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.used.fetch_add(bytes, Ordering::AcqRel);
        Reservation { buffer: self.clone(), bytes }
    }
}

impl Reservation {
    pub(crate) fn buffer(&self) -> &Arc<Buffer> {
        &self.buffer
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.buffer.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.buffer.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_is_reserved() {
        let buffer = Buffer::new(100);
        let first = buffer.try_reserve(60).unwrap();
        assert!(buffer.try_reserve(41).is_none());
        assert_eq!(buffer.room(), 40);
        drop(first);
        assert!(buffer.try_reserve(100).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_continues_when_there_is_room() {
        let buffer = Buffer::new(100);
        let first = buffer.try_reserve(100).unwrap();
        let waiter = tokio::spawn({
            let buffer = buffer.clone();
            async move { buffer.reserve(10).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        drop(first);
        waiter.await.unwrap();
    }

    #[tokio::test]
    async fn a_reservation_larger_than_the_buffer_has_the_buffer_to_itself() {
        let buffer = Buffer::new(100);
        let alone = buffer.reserve(500).await;
        assert!(buffer.try_reserve(1).is_none());
        drop(alone);
        assert_eq!(buffer.used(), 0);
    }
}
