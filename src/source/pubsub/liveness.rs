//! Decides whether a silent connection is dead, or its server is only frozen.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Answer, Reader, SILENT, connect};
use crate::error::Error;
use crate::redis::frames::Event;
use crate::redis::subscription::Subscription;
use crate::text::Lasted;

/// How much longer a suspected connection may take to answer, once a second one is subscribed.
pub(super) const LAST_CHANCE: Duration = Duration::from_secs(1);

/// The result for a suspected connection.
pub(super) enum Verdict {
    /// The group stops before it is decided.
    Stop,
    /// It answered. A server that was frozen delivers everything to connections that stayed.
    Alive,
    /// It did not answer, and a second connection replaced it.
    Replaced,
    /// It ended before a second connection was subscribed. Contains the cause.
    Lost(String),
}

impl Reader {
    /// Decides about a silent connection: opens a second one beside it, and waits [`LAST_CHANCE`] for the first one
    /// once the second is subscribed. The messages of only one of them are used, so no message is received twice.
    ///
    /// Until the verdict the group counts as disconnected. If the connection is lost, the group stays disconnected.
    pub(super) async fn check_liveness(&mut self) -> Result<Verdict, Error> {
        self.outage.silent(self.heard, &format!("no answer for {}", Lasted(self.heard.elapsed())));
        let verdict = self.verdict().await?;
        if matches!(verdict, Verdict::Alive | Verdict::Replaced) {
            self.outage.succeeded();
        }
        Ok(verdict)
    }

    async fn verdict(&mut self) -> Result<Verdict, Error> {
        tracing::debug!("no answer for {}; opening a second connection next to this one", Lasted(SILENT));
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
                    // It answers, but delivers nothing any more.
                    Ok(Answer::Unsubscribed) => return Ok(self.lost(candidate, self.server.why_left().to_owned()).await),
                    Ok(_) => return Ok(Verdict::Alive),
                    Err(end) => return Ok(self.lost(candidate, end).await),
                },
                // Once there is a candidate, the verdict is near: a stop waits for it, so that the
                // candidate's messages are kept.
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

    /// The first connection has ended: the second one replaces it, if it is subscribed.
    async fn lost(&mut self, candidate: Option<Candidate>, end: String) -> Verdict {
        match candidate {
            Some(candidate) => self.replace(candidate, &end).await,
            None => Verdict::Lost(end),
        }
    }

    async fn replace(&mut self, candidate: Candidate, cause: &str) -> Verdict {
        let cause = self.explained(cause.to_owned(), &candidate.subscription);
        self.outage.missed(self.gap(cause, candidate.since - self.subscription.current()));
        self.subscription = candidate.subscription;
        self.receive(candidate.held).await;
        self.heard = Instant::now();
        Verdict::Replaced
    }

    fn silence(&self) -> String {
        format!("the connection was silent for {}", Lasted(self.heard.elapsed()))
    }
}

/// A second connection while the first one is suspected. Its messages are held until the verdict.
struct Candidate {
    subscription: Subscription,
    since: Instant,
    held: Vec<Event>,
    bytes: usize,
}

impl Candidate {
    /// Once this much is held, the rest stays in the socket, for a second at most.
    const MOST_BYTES: usize = 16 << 20;

    fn new(subscription: Subscription) -> Self {
        Self { subscription, since: Instant::now(), held: Vec::new(), bytes: 0 }
    }
}

/// Reads from the candidate. If it has ended, nothing is read; the reader notices after the replacement.
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
