//! One attempt at a message: one call of the processor. Panics and timeouts become failures.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::timeout;

use crate::processor::{Failure, Outcome};
use crate::text::Lasted;

type Result = std::result::Result<Outcome, Failure>;

/// A running call of the processor for one message.
pub(crate) struct Attempt<'a, F> {
    process: Pin<&'a mut Option<F>>,
}

impl<'a, F: Future<Output = Result>> Attempt<'a, F> {
    /// Begins with the first poll. The call of the processor belongs inside the future, so that a panic before its
    /// first await is caught too.
    pub(crate) fn new(process: Pin<&'a mut Option<F>>) -> Self {
        Self { process }
    }

    /// Runs the processor as far as it can go without waiting.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result> {
        let process = &mut self.process;
        let poll = || process.as_mut().as_pin_mut().map_or(Poll::Pending, |process| process.poll(context));
        // Unwind safe: after a panic the future is not polled again. State that the processor shares between messages
        // is its own responsibility, as after a panic of a thread.
        catch_unwind(AssertUnwindSafe(poll))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked("the processor panicked", &*panic))))
    }

    /// Waits for the processor, at most `limit`.
    pub(crate) async fn outcome(&mut self, limit: Option<Duration>) -> Result {
        let outcome = poll_fn(|context| self.poll(context));
        match limit {
            None => outcome.await,
            Some(limit) => timeout(limit, outcome)
                .await
                .unwrap_or_else(|_| Err(Failure::TryAgain(format!("no result within {}", Lasted(limit))))),
        }
    }

    /// Drops the processor's future. A panic of that drop is a failure too.
    pub(crate) fn end(mut self) -> Option<Failure> {
        catch_unwind(AssertUnwindSafe(|| self.process.set(None)))
            .err()
            .map(|panic| panicked("the processor panicked at its end", &*panic))
    }
}

fn panicked(what: &str, panic: &(dyn Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("(without a message)");
    Failure::Reject(format!("{what}: {text}"))
}
