//! Runs several starts concurrently.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// Waits for all of them and returns their results in order. The first error drops the others.
///
/// They run in the caller's task: dropping this future drops them, and everything they started is gone when `drop`
/// returns. Separate tasks would continue for a moment, and would be lost if the runtime ended.
pub(crate) async fn together<T, E>(
    starts: impl IntoIterator<Item: Future<Output = Result<T, E>>>,
) -> Result<Vec<T>, E> {
    let mut starts: Vec<_> = starts.into_iter().map(|start| Start::Pending(Box::pin(start))).collect();
    poll_fn(|context| {
        let mut is_pending = false;
        for start in &mut starts {
            let Start::Pending(future) = start else { continue };
            match future.as_mut().poll(context) {
                Poll::Ready(Ok(done)) => *start = Start::Done(done),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => is_pending = true,
            }
        }
        if is_pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await?;
    let done = |start| match start {
        Start::Done(done) => Some(done),
        Start::Pending(_) => None,
    };
    Ok(starts.into_iter().filter_map(done).collect())
}

enum Start<F, T> {
    Pending(Pin<Box<F>>),
    Done(T),
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn starts_run_concurrently_and_their_results_are_in_order() {
        let start = Instant::now();
        let sleeper = async |seconds| {
            sleep(Duration::from_secs(seconds)).await;
            Ok::<_, ()>(seconds)
        };
        assert_eq!(together([3, 1, 2].map(sleeper)).await, Ok(vec![3, 1, 2]));
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_error_ends_the_others() {
        struct Ended<'a>(&'a Cell<u32>);
        impl Drop for Ended<'_> {
            fn drop(&mut self) {
                self.0.set(self.0.get() + 1);
            }
        }
        let ended = Cell::new(0);
        let start = async |seconds| {
            let _ended = Ended(&ended);
            sleep(Duration::from_secs(seconds)).await;
            if seconds == 1 { Err("refused") } else { Ok(()) }
        };
        assert_eq!(together([5, 1].map(start)).await, Err("refused"));
        assert_eq!(ended.get(), 2);
    }
}
