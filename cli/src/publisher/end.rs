//! The end of publishing.

use std::mem;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Failure, Published, Publisher, Summary, at};

/// After a stop or an error, how long to wait for the last replies and for accepted messages that are not published
/// yet.
const LAST_REPLIES: Duration = Duration::from_secs(10);

impl Publisher<'_> {
    /// Publishes the accepted messages and waits for the last replies: for at most `patience` if it is given, at most
    /// `LAST_REPLIES` after a stop is requested, and not after a second signal. After a failure at a server it sends
    /// nothing more and waits for at most `LAST_REPLIES`.
    pub(crate) async fn finish(
        mut self,
        outcome: Result<(), Failure>,
        patience: Option<Duration>,
    ) -> Published {
        let stop = self.stop;
        let (mut outcome, no_more) = match outcome {
            Err(failure @ (Failure::NoMember { .. } | Failure::Input(_))) => (Ok(()), Some(failure)),
            outcome => (outcome, None),
        };
        let patience = if outcome.is_err() { Some(LAST_REPLIES) } else { patience };
        let end = patience.map(|patience| Instant::now() + patience);
        let settling = async {
            loop {
                if outcome.is_ok() {
                    self.pump();
                }
                if self.window.is_empty() && (self.lines.is_empty() || outcome.is_err()) {
                    return;
                }
                // Only the first error is kept.
                let happened = self.something().await;
                outcome = mem::replace(&mut outcome, Ok(())).and(happened);
            }
        };
        let stopped = async {
            stop.asked().await;
            sleep(LAST_REPLIES).await;
        };
        // Running out of time is not a failure: the summary shows it.
        tokio::select! {
            () = settling => {}
            () = at(end) => {}
            () = stopped => {}
            () = stop.insisted() => {}
        }
        let uncertain = self.lines.all().filter(|message| message.is_uncertain).count() as u64;
        let knows_receivers = self.connections.know_the_receivers(self.target);
        Published {
            summary: Summary {
                published: self.progress.confirmed.load(Ordering::Acquire),
                unconfirmed: self.unconfirmed + self.window.messages().count() as u64 + uncertain,
                not_published: self.left_out + self.lines.all().count() as u64 - uncertain,
                repeated: self.window.repeated(),
                unheard: if knows_receivers { self.window.unheard() } else { 0 },
                elapsed: self.start.elapsed(),
            },
            failure: outcome.err().or(no_more),
        }
    }
}
