//! A subscribed connection, and the events that are read from it.

use std::future::poll_fn;
use std::io;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::channel::Channel;
use super::cluster::Node;
use super::connection::{Connection, user_and_password};
use super::fault::{Fault, Kind};
use super::frames::{Event, Scanner};
use super::login::Login;
use super::resp::{self, FrameError};
use super::server::{RESPONSE_TIMEOUT, Server, Socket};
use super::server_info::ServerInfo;
use crate::error::Error;
use crate::text::Lasted;

/// A connection whose subscription the server has confirmed.
pub(crate) struct Subscription {
    socket: Box<dyn Socket>,
    input: BytesMut,
    scanner: Scanner,
    /// The node at the other end, if there are several.
    node: Option<Node>,
    /// The login, if it expires. The connection then speaks RESP3 and can log in again.
    login: Option<Login>,
    server_info: ServerInfo,
    /// The size of the memory that is read into. Every slice split off it keeps all of it.
    allocation: usize,
    /// The last time when all that had arrived was read.
    current: Instant,
    /// Whether something was read since then.
    behind: bool,
    /// How many PINGs were sent, and how many of them were answered.
    pings: u64,
    answers: u64,
    /// The number of an unanswered PING, and when it was sent.
    asked: Option<(u64, Instant)>,
    /// After reading was held up, what arrives may be old, even if the socket is empty for the moment. That lasts
    /// until this many PINGs are answered.
    late_until: Option<u64>,
}

impl Subscription {
    /// A read takes up to this many bytes. Messages keep the memory that they were read into.
    const READ: usize = 256 << 10;
    /// If less room than this is left in the memory, the next read gets new memory.
    const LEAST_READ: usize = 16 << 10;

    /// Connects, subscribes, and waits for the confirmation.
    pub(crate) async fn open(server: &Server, channel: &Channel, max_payload: usize) -> Result<Self, Fault> {
        let mut connection = Connection::open(server, "redis-consumer-group:subscriber").await?;
        let mut out = Vec::new();
        // One write for all: `INFO` costs no time before the subscription, and is not possible after it.
        resp::command(&mut out, &ServerInfo::COMMAND);
        // A RESP2 subscriber is not permitted to log in again.
        let login = Some(connection.login().clone()).filter(Login::expires);
        if login.is_some() {
            resp::command(&mut out, &[b"HELLO", b"3"]);
        }
        resp::command(&mut out, &[channel.kind.subscribe().as_bytes(), channel.name.as_bytes()]);
        connection.send(&out).await?;
        let server_info = connection.receive(|reply| ServerInfo::of(&reply).unwrap_or_default()).await?;
        let node = connection.node().cloned();
        let (socket, input) = connection.into_parts();
        let mut subscription = Self { node, server_info, ..Self::on(socket, input, channel, max_payload) };
        if login.is_some() {
            subscription = Self { login, scanner: subscription.scanner.of_pushes(), ..subscription };
        }
        subscription.confirmed(server, channel).await?;
        subscription.current = Instant::now();
        Ok(subscription)
    }

    /// Uses a socket that delivers messages, or is about to. `input` was read from it.
    pub(crate) fn on(
        socket: Box<dyn Socket>,
        input: BytesMut,
        channel: &Channel,
        max_payload: usize,
    ) -> Self {
        let scanner = Scanner::new(channel.kind, channel.name.as_bytes(), max_payload);
        let (allocation, current) = (input.capacity(), Instant::now());
        Self {
            socket,
            input,
            scanner,
            node: None,
            login: None,
            server_info: ServerInfo::default(),
            allocation,
            current,
            behind: false,
            pings: 0,
            answers: 0,
            asked: None,
            late_until: None,
        }
    }

    async fn confirmed(&mut self, server: &Server, channel: &Channel) -> Result<(), Fault> {
        let Channel { name, kind } = channel;
        let command = kind.subscribe();
        loop {
            match self.next()? {
                Some(Event::Subscribed { .. }) => return Ok(()),
                Some(Event::Error(answer)) if Kind::of(&answer) == Kind::Unknown => {
                    let address = server.address().to_string();
                    return Err(Fault::Permanent(Error::Protocol { address, what: command, answer }));
                }
                Some(Event::Error(answer)) => {
                    let what = format!("{command} {name}");
                    return Err(server.fault(
                        &what,
                        &format!("+{} &{name}", command.to_lowercase()),
                        &answer,
                    ));
                }
                Some(_) => {}
                None => match timeout(RESPONSE_TIMEOUT, self.read()).await {
                    Ok(Ok(0)) => return Err(Fault::Transient("the server closed the connection".to_owned())),
                    Ok(read) => drop(read?),
                    Err(_) => {
                        return Err(Fault::Transient(format!(
                            "no confirmation for {}",
                            Lasted(RESPONSE_TIMEOUT)
                        )));
                    }
                },
            }
        }
    }

    /// The node at the other end, if there are several.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// What the server reported about itself just before the subscription.
    pub(crate) fn server_info(&self) -> &ServerInfo {
        &self.server_info
    }

    /// Reads what the socket has. Returns 0 at its end. The future may be dropped at any time without losing a byte.
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        let wanted = self.scanner.wanted();
        if self.input.capacity() - self.input.len() < wanted.max(Self::LEAST_READ) {
            self.input.reserve(wanted.max(Self::READ));
            self.allocation = self.input.capacity();
        }
        let Self { socket, input, current, behind, late_until, .. } = self;
        let mut read = pin!(socket.read_buf(input));
        let read = poll_fn(|context| {
            let read = read.as_mut().poll(context);
            if read.is_pending() && late_until.is_none() && std::mem::take(behind) {
                *current = Instant::now();
            }
            read
        })
        .await;
        *behind = true;
        read
    }

    /// Reading was held up, for example by a full buffer. What the server has sent may still be in its own memory and
    /// arrive in pieces. The answer to a PING sent from now on shows that all of it has arrived.
    pub(crate) fn held_up(&mut self) {
        self.late_until = Some(self.pings + 1);
    }

    /// Whether that answer is still missing.
    pub(crate) fn is_late(&self) -> bool {
        self.late_until.is_some()
    }

    /// The server answered a PING, in any form. All that it sent before has been read.
    pub(crate) fn answered(&mut self) {
        self.answers += 1;
        if let Some((_, sent)) = self.asked.take_if(|(number, _)| *number <= self.answers) {
            self.current = self.current.max(sent);
        }
        self.late_until = self.late_until.filter(|pings| self.answers < *pings);
    }

    /// The last moment for which all that was sent by then is known to be read. A gap begins here. What was read later
    /// may have been old already, because reading waited for room or the process stood still.
    pub(crate) fn current(&self) -> Instant {
        self.current
    }

    /// The next event in what was read. `None` if it needs more input.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, FrameError> {
        Ok(self.scanner.next(&mut self.input)?.map(|event| match event {
            // A small run is copied. While it waits, it would keep the whole memory, which no limit counts.
            Event::Messages { bytes, spans } if bytes.len() < self.allocation / 2 => {
                Event::Messages { bytes: Bytes::copy_from_slice(&bytes), spans }
            }
            event => event,
        }))
    }

    /// Sends a PING, to learn whether the connection is alive.
    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        self.pings += 1;
        self.asked.get_or_insert((self.pings, Instant::now()));
        self.send(&[b"PING", b"redis-consumer-group"]).await
    }

    /// The login, if it expires.
    pub(crate) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Logs in with newer credentials. The reply comes between messages, and counts as the answer to a PING.
    pub(crate) async fn log_in_again(&mut self, login: &Login) -> io::Result<()> {
        let Some((user, password)) = user_and_password(login) else { return Ok(()) };
        self.pings += 1;
        self.send(&[b"AUTH", user.as_bytes(), password.as_bytes()]).await?;
        self.login = Some(login.clone());
        Ok(())
    }

    /// Unsubscribes. All messages before the confirmation are still delivered.
    pub(crate) async fn unsubscribe(&mut self, channel: &Channel) -> io::Result<()> {
        self.send(&[channel.kind.unsubscribe().as_bytes(), channel.name.as_bytes()]).await
    }

    async fn send(&mut self, args: &[&[u8]]) -> io::Result<()> {
        let mut out = Vec::new();
        resp::command(&mut out, args);
        let write = async {
            self.socket.write_all(&out).await?;
            self.socket.flush().await
        };
        // A live socket always has room for a few bytes.
        timeout(RESPONSE_TIMEOUT, write).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::duplex;

    use super::*;
    use crate::redis::channel::ChannelKind;

    #[tokio::test(start_paused = true)]
    async fn after_it_was_held_up_nothing_is_surely_read_before_a_ping_is_answered() {
        let (ours, mut server) = duplex(1 << 20);
        let channel = Channel::new("c", ChannelKind::Plain);
        let mut subscription = Subscription::on(Box::new(ours), BytesMut::new(), &channel, 1000);
        let arrives = async |subscription: &mut Subscription, server: &mut tokio::io::DuplexStream| {
            server.write_all(b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n").await.unwrap();
            subscription.read().await.unwrap();
            // Then nothing, for a moment.
            assert!(timeout(Duration::from_millis(10), subscription.read()).await.is_err());
            subscription.current()
        };
        let before = arrives(&mut subscription, &mut server).await;
        tokio::time::advance(Duration::from_secs(2)).await;
        subscription.held_up();
        assert_eq!(arrives(&mut subscription, &mut server).await, before, "it may be two seconds old");
        subscription.ping().await.unwrap();
        let asked = Instant::now();
        // Held up once more before the answer.
        tokio::time::advance(Duration::from_secs(2)).await;
        subscription.held_up();
        subscription.answered();
        assert!(subscription.is_late());
        assert_eq!(arrives(&mut subscription, &mut server).await, asked);
        subscription.ping().await.unwrap();
        subscription.answered();
        assert!(!subscription.is_late());
        assert!(arrives(&mut subscription, &mut server).await > asked + Duration::from_secs(2));
    }
}
