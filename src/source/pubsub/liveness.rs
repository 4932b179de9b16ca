//! A connection that has fallen silent: is it dead, or does the server only stand still?

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Reader, SILENT, connect};
use crate::error::Error;
use crate::redis::frames::Event;
use crate::redis::subscription::Subscription;
use crate::text::Lasted;

/// How much longer a suspected connection has, once a second one is subscribed.
pub(super) const LAST_CHANCE: Duration = Duration::from_secs(1);

/// What became of a suspected connection.
pub(super) enum Verdict {
    /// The group stops before anyone knows.
    Stop,
    /// It answered. A server that was frozen delivers everything to those who stayed.
    Alive,
    /// It did not, and a new one has taken its place.
    Replaced,
    /// It has ended before a new one could take its place.
    Lost(String),
}

impl Reader {
    /// Decides about a connection that is silent: opens a second one beside it, and gives it a last chance
    /// once that is subscribed. Only one of them is ever listened to, so no message is received twice.
    ///
    /// Until the verdict the group is disconnected: nobody knows better. If the connection is lost, it stays so.
    pub(super) async fn check_liveness(&mut self) -> Result<Verdict, Error> {
        self.outage.begins(self.heard, &format!("no answer for {}", Lasted(self.heard.elapsed())));
        let verdict = self.verdict().await?;
        if matches!(verdict, Verdict::Alive | Verdict::Replaced) {
            self.outage.is_over();
        }
        Ok(verdict)
    }

    async fn verdict(&mut self) -> Result<Verdict, Error> {
        tracing::debug!("no answer for {}; opening a second connection beside this one", Lasted(SILENT));
        self.server.suspect(self.subscription.node());
        let (server, channel, max_payload) = (self.server.clone(), self.channel.clone(), self.max_payload);
        let outage = self.outage.clone();
        let mut second = pin!(connect(&server, &channel, max_payload, &outage));
        let mut candidate: Option<Candidate> = None;
        loop {
            let (deadline, held) = match &candidate {
                Some(candidate) => (candidate.since + LAST_CHANCE, candidate.bytes),
                None => (self.heard, 0),
            };
            tokio::select! {
                biased;
                read = self.subscription.read() => match self.take(read).await {
                    Ok(_) => return Ok(Verdict::Alive),
                    Err(end) => match candidate {
                        Some(candidate) => return Ok(self.replace(candidate, &end).await),
                        None => return Ok(Verdict::Lost(end)),
                    },
                },
                // Once there is a candidate the verdict is near, and with it what the candidate holds.
                () = self.stop.cancelled(), if candidate.is_none() => return Ok(Verdict::Stop),
                subscription = &mut second, if candidate.is_none() => match subscription {
                    Ok(subscription) => candidate = Some(Candidate::new(subscription)),
                    Err(error) => {
                        self.intake.events().gap(&self.channel.name, self.silence(), self.subscription.current().elapsed());
                        return Err(error);
                    }
                },
                () = hold(&mut candidate), if held < Candidate::MOST_BYTES => {}
                () = sleep_until(deadline), if candidate.is_some() => if let Some(candidate) = candidate {
                    let cause = self.silence();
                    return Ok(self.replace(candidate, &cause).await);
                },
            }
        }
    }

    async fn replace(&mut self, candidate: Candidate, cause: &str) -> Verdict {
        let cause = self.explained(cause.to_owned(), &candidate.subscription);
        self.intake.events().gap(&self.channel.name, cause, candidate.since - self.subscription.current());
        self.subscription = candidate.subscription;
        self.receive(candidate.held).await;
        self.heard = Instant::now();
        Verdict::Replaced
    }

    fn silence(&self) -> String {
        format!("the connection was silent for {}", Lasted(self.heard.elapsed()))
    }
}

/// A second connection, while the first one is suspected. What it delivers is held until the verdict.
struct Candidate {
    subscription: Subscription,
    since: Instant,
    held: Vec<Event>,
    bytes: usize,
}

impl Candidate {
    /// More is left in the socket; it is a second's worth at most.
    const MOST_BYTES: usize = 16 << 20;

    fn new(subscription: Subscription) -> Self {
        Self { subscription, since: Instant::now(), held: Vec::new(), bytes: 0 }
    }
}

/// Reads from the candidate. One that has ended is not read any more; whoever replaces by it finds out.
async fn hold(candidate: &mut Option<Candidate>) {
    let Some(candidate) = candidate else { return std::future::pending().await };
    loop {
        match candidate.subscription.next() {
            Ok(Some(event)) => candidate.held.push(event),
            Ok(None) => break,
            Err(_) => return std::future::pending().await,
        }
    }
    match candidate.subscription.read().await {
        Ok(read) if read > 0 => candidate.bytes += read,
        _ => std::future::pending().await,
    }
}
