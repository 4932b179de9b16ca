//! The sources `pubsub` and `sharded`: one channel, read on its own connection.

#[cfg(test)]
mod claims;
mod liveness;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::liveness::{LAST_CHANCE, Verdict};
use super::Source;
use crate::error::Error;
use crate::intake::Intake;
use crate::redis::backoff::Backoff;
use crate::redis::channel::Channel;
use crate::redis::fault::{Fault, Kind};
use crate::redis::frames::Event;
use crate::redis::outage::{Outage, Task};
use crate::redis::resp::FrameError;
use crate::redis::server::{LAST_WORD, Server};
use crate::redis::subscription::Subscription;
use crate::status::{Missed, Status};

/// A `PING` is sent after this time without a byte.
const QUIET: Duration = Duration::from_secs(2);
/// The connection is suspected to be dead after this time without a byte, including the answer to the `PING`.
const SILENT: Duration = Duration::from_secs(4);
/// If reading pauses for this long, the server's output may have fallen behind.
const HELD_UP: Duration = Duration::from_millis(100);
/// How long after such a pause the server is asked whether it has. Not at once: a server that has disconnected us
/// would discard the rest of its output. (On a channel without messages it is asked anyway.)
const ASK_LATER: Duration = Duration::from_secs(1);
/// How long to wait after a refused `UNSUBSCRIBE` before the next one.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// A subscribed channel.
pub(crate) struct PubSub {
    server: Arc<Server>,
    channel: Channel,
    max_payload: usize,
    subscription: Subscription,
    outage: Arc<Outage>,
}

impl PubSub {
    pub(crate) async fn open(
        server: Arc<Server>,
        channel: Channel,
        max_payload: usize,
        status: &Status,
    ) -> Result<Self, Fault> {
        let subscription = Subscription::open(&server, &channel, max_payload).await?;
        let outage = Arc::new(Outage::new(Task::Subscribe(channel.name.to_string()), status));
        Ok(Self { server, channel, max_payload, subscription, outage })
    }
}

impl Source for PubSub {
    async fn run(self, intake: Intake, stop: CancellationToken) -> Result<(), Error> {
        let Self { server, channel, max_payload, subscription, outage } = self;
        let now = Instant::now();
        let mut reader = Reader {
            server,
            channel,
            max_payload,
            subscription,
            outage,
            intake,
            stop,
            heard: now,
            ask_at: now,
        };
        loop {
            let (cause, since) = match reader.listen().await {
                Heard::Stop => break reader.leave().await,
                Heard::End(cause) => (cause, reader.subscription.current()),
                Heard::Left(since) => {
                    (reader.server.why_left().to_owned(), since.min(reader.subscription.current()))
                }
                Heard::Silence => match reader.check_liveness().await? {
                    Verdict::Stop => break reader.leave().await,
                    Verdict::Alive | Verdict::Replaced => continue,
                    Verdict::Lost(cause) => (cause, reader.subscription.current()),
                },
            };
            if !reader.reconnect(cause, since).await? {
                break;
            }
        }
        Ok(())
    }
}

struct Reader {
    server: Arc<Server>,
    channel: Channel,
    max_payload: usize,
    subscription: Subscription,
    /// Reports failing attempts to subscribe again.
    outage: Arc<Outage>,
    intake: Intake,
    stop: CancellationToken,
    /// When the last byte was received. Silence is measured from here.
    heard: Instant,
    /// When to ask whether everything was read, after a pause in reading.
    ask_at: Instant,
}

/// How listening ended.
enum Heard {
    /// The group stops.
    Stop,
    /// The connection has ended.
    End(String),
    /// Another node now delivers the channel, and this one did not say so. It was still responsible at this time.
    Left(Instant),
    /// Nothing was received, not even an answer to a `PING`.
    Silence,
}

/// The server's answer to a command on the subscription.
enum Answer {
    None,
    /// The server delivers nothing more.
    Unsubscribed,
    /// The server refused; with its text.
    Error(String),
}

impl Reader {
    async fn listen(&mut self) -> Heard {
        // The confirmation of the subscription and the first messages may have arrived in one read.
        match self.deliver().await {
            Ok(Answer::Unsubscribed) => return Heard::End(self.server.why_left().to_owned()),
            Ok(_) => {}
            Err(error) => return Heard::End(unreadable(&error)),
        }
        let node = self.subscription.node().cloned();
        let (mut pinged, mut left) = (false, None);
        let mut login = self.subscription.login().cloned();
        loop {
            // Reading comes first, so that no timer fires while bytes are waiting. The stop is checked after each
            // read, in case bytes are always waiting.
            tokio::select! {
                biased;
                read = self.subscription.read() => {
                    match self.take(read).await {
                        Ok(Answer::Unsubscribed) => return Heard::End(self.server.why_left().to_owned()),
                        Ok(_) => {}
                        Err(end) => return Heard::End(end),
                    }
                    pinged = false;
                    if self.stop.is_cancelled() {
                        return Heard::Stop;
                    }
                    // The lanes share this thread.
                    tokio::task::yield_now().await;
                }
                () = self.stop.cancelled() => return Heard::Stop,
                since = self.server.left(node.as_ref()), if left.is_none() => left = Some((since, Instant::now() + LAST_WORD)),
                since = over(left), if left.is_some() => return Heard::Left(since),
                newer = self.server.logins().renewed(login.as_ref()) => {
                    if let Err(error) = self.subscription.log_in_again(&newer).await {
                        return Heard::End(format!("the connection broke ({error})"));
                    }
                    login = Some(newer);
                }
                () = sleep_until(self.heard + QUIET), if !pinged => {
                    pinged = true;
                    if let Err(error) = self.subscription.ping().await {
                        return Heard::End(format!("the connection broke ({error})"));
                    }
                }
                () = sleep_until(self.heard + SILENT), if pinged => return Heard::Silence,
            }
        }
    }

    /// Subscribes again, and reports the gap since `since`. `false` if the group stops before that.
    async fn reconnect(&mut self, cause: String, since: Instant) -> Result<bool, Error> {
        self.outage.broke(since, &cause);
        self.intake.events().gap_begins(since);
        let connected = tokio::select! {
            subscription = connect(&self.server, &self.channel, self.max_payload, &self.outage) => Some(subscription),
            () = self.stop.cancelled() => None,
        };
        let lasted = since.elapsed();
        let cause = match &connected {
            Some(Ok(next)) if cause != self.server.why_left() => self.explained(cause, next),
            _ => cause,
        };
        let cause = match self.outage.cause() {
            Some(failure) => format!("{cause}; reconnecting failed: {failure}"),
            None => cause,
        };
        self.outage.missed(self.gap(cause, lasted));
        let Some(subscription) = connected.transpose()? else { return Ok(false) };
        self.outage.succeeded();
        self.subscription = subscription;
        self.heard = Instant::now();
        Ok(true)
    }

    /// Counts a gap of the channel.
    fn gap(&self, cause: String, lasted: Duration) -> Missed {
        let missed = Missed { channel: self.channel.name.to_string(), cause, lasted };
        self.intake.events().count_gap(&missed);
        missed
    }

    /// Unsubscribes, and receives the messages that were published before the server confirms that.
    async fn leave(&mut self) {
        let asked = Instant::now();
        let mut ask = Some(asked);
        let end = loop {
            tokio::select! {
                biased;
                () = sleep_until(ask.unwrap_or(self.heard)), if ask.is_some() => {
                    ask = None;
                    if let Err(error) = self.subscription.unsubscribe(&self.channel).await {
                        break format!("the connection broke ({error})");
                    }
                }
                read = self.subscription.read() => match self.take(read).await {
                    Ok(Answer::Unsubscribed) => return,
                    Ok(Answer::Error(answer)) if Kind::of(&answer) == Kind::Transient => {
                        // A server that is busy in a script refuses this too, and continues to deliver afterwards.
                        ask = Some(Instant::now() + ASK_AGAIN);
                    }
                    // `UNSUBSCRIBE` is not permitted, or renamed. Other errors are answers to a `PING`.
                    Ok(Answer::Error(answer)) if answer.to_lowercase().contains("unsubscribe") => break answer,
                    Ok(Answer::Error(_) | Answer::None) => {}
                    Err(cause) => break cause,
                },
                // Counted from the question: silence before it says nothing about the answer.
                () = sleep_until(self.heard.max(asked) + SILENT + LAST_CHANCE) => break "the server fell silent".to_owned(),
            }
        };
        self.intake.events().gap(
            &self.channel.name,
            format!("{end} while the group stopped"),
            self.subscription.current().elapsed(),
        );
    }

    /// Handles the result of a read, and delivers complete messages. An error says why the connection has ended.
    async fn take(&mut self, read: std::io::Result<usize>) -> Result<Answer, String> {
        match read {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Err(error) => Err(format!("the connection broke ({error})")),
            Ok(_) => {
                let since = Instant::now();
                let delivered = self.deliver().await.map_err(|error| unreadable(&error))?;
                // Updated only now: while a full buffer makes us wait, we do not read, and receive nothing.
                self.heard = Instant::now();
                if self.heard - since >= HELD_UP {
                    if !self.subscription.is_late() {
                        self.ask_at = self.heard + ASK_LATER;
                    }
                    self.subscription.held_up();
                }
                if self.subscription.is_late() && self.heard >= self.ask_at {
                    let asked = self.subscription.ping().await;
                    asked.map_err(|error| format!("the connection broke ({error})"))?;
                    self.ask_at = self.heard + ASK_LATER;
                }
                Ok(delivered)
            }
        }
    }

    /// Delivers every complete frame that was read, and returns the server's answer to a
    /// command, if there is one among them.
    async fn deliver(&mut self) -> Result<Answer, FrameError> {
        let mut events = Vec::new();
        let end = loop {
            match self.subscription.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        let answer = self.receive(events).await;
        end.map(|()| answer)
    }

    async fn receive(&mut self, events: Vec<Event>) -> Answer {
        // All of them count as received before the first one is accepted, even if we are dropped while we wait for room.
        self.intake.receive(events.iter().map(messages_in).sum());
        let mut answer = Answer::None;
        for event in events {
            match event {
                Event::Messages { bytes, spans } => {
                    self.intake.accept(&self.channel.name, bytes, spans).await
                }
                Event::Oversize { len, head } => {
                    self.intake.accept_oversize(&self.channel.name, head, len).await
                }
                Event::Unsubscribed { .. } => answer = Answer::Unsubscribed,
                Event::Error(text) => {
                    self.subscription.answered();
                    if Kind::of(&text) == Kind::Login {
                        // The subscription stays as it was. A reconnect will show whether the credentials work.
                        let channel = &self.channel.name;
                        tracing::warn!(
                            %channel,
                            "{channel}: the server refused new credentials on the open subscription: {text}"
                        );
                    } else {
                        tracing::debug!("unexpected answer on the subscription: {text:?}");
                    }
                    if !matches!(answer, Answer::Unsubscribed) {
                        answer = Answer::Error(text);
                    }
                }
                Event::Pong => self.subscription.answered(),
                Event::Subscribed { .. } | Event::Other => {}
            }
        }
        answer
    }

    /// Adds the server's own explanation to the cause of a gap.
    fn explained(&self, cause: String, next: &Subscription) -> String {
        match self.subscription.server_info().cause(next.server_info()) {
            Some(why) => format!("{cause}: {why}"),
            None => cause,
        }
    }
}

/// Waits for the end of a period, and returns its beginning. Waits forever without a period.
async fn over(left: Option<(Instant, Instant)>) -> Instant {
    match left {
        Some((since, end)) => {
            sleep_until(end).await;
            since
        }
        None => std::future::pending().await,
    }
}

fn messages_in(event: &Event) -> u64 {
    match event {
        Event::Messages { spans, .. } => spans.len() as u64,
        Event::Oversize { .. } => 1,
        _ => 0,
    }
}

fn unreadable(error: &FrameError) -> String {
    format!("the server sent a reply that cannot be read ({error})")
}

/// Connects and subscribes; retries until it succeeds or the fault is permanent.
async fn connect(
    server: &Server,
    channel: &Channel,
    max_payload: usize,
    outage: &Outage,
) -> Result<Subscription, Error> {
    let mut backoff = Backoff::at(server);
    loop {
        match Subscription::open(server, channel, max_payload).await {
            Ok(subscription) => return Ok(subscription),
            Err(Fault::Permanent(error)) => return Err(error),
            Err(Fault::Transient(cause)) => outage.failed(&cause),
        }
        backoff.wait().await;
    }
}
