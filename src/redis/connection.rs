//! A connection that we speak RESP2 on ourselves: one for each lane, and the subscriber's before it subscribes.

mod hello;
mod route;
mod sentinels;

use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use self::hello::{Greeting, hello, refused};
pub(crate) use self::route::{answers_no_more, explore, locate, refresh};
pub(crate) use self::sentinels::listen;
use super::cluster::Node;
use super::fault::{Fault, Kind};
use super::login::Login;
use super::reply::{self, Reply};
use super::resp::{self, FrameError};
use super::server::{RESPONSE_TIMEOUT, Server, Socket};
use crate::error::Error;
use crate::text::Lasted;

/// The last part of the response timeout.
const LAST_LOOK: Duration = Duration::from_millis(500);

/// An open connection, past its handshake.
pub(crate) struct Connection {
    socket: Box<dyn Socket>,
    input: BytesMut,
    /// What the server has said of it and of itself.
    greeting: Greeting,
    /// The node that it leads to, where there are several.
    node: Option<Node>,
    /// What it has logged in with.
    login: Login,
}

impl Connection {
    /// Opens a socket, authenticates, and selects the database. `name` is what `CLIENT LIST` shows.
    pub(crate) async fn open(server: &Server, name: &str) -> Result<Self, Fault> {
        let node = locate(server).await?;
        Self::open_to(server, node, name).await
    }

    /// The same to this node, or to the very address.
    pub(crate) async fn open_to(server: &Server, node: Option<Node>, name: &str) -> Result<Self, Fault> {
        let opened = Self::open_at(server, node.clone(), name).await;
        if opened.is_err() {
            server.suspect(node.as_ref());
        }
        opened
    }

    /// The same, and suspects nobody where that fails.
    async fn open_at(server: &Server, node: Option<Node>, name: &str) -> Result<Self, Fault> {
        let login = server.login().await.map_err(Fault::Transient)?;
        let mut connection = Self { login, ..Self::on(server.socket(node.as_ref()).await?, node) };
        let address = server.address();
        let mut out = Vec::new();
        hello(&mut out, user_and_password(&connection.login), name);
        let database = address.database().to_string();
        if address.database() != 0 {
            resp::command(&mut out, &[b"SELECT", database.as_bytes()]);
        }
        connection.send(&out).await?;
        connection.greeting = match connection.receive(|reply| Greeting::read(&reply)).await? {
            Ok(greeting) => greeting,
            Err(answer) => return Err(refused(server, connection.node(), &answer)),
        };
        server.logins().accepted(connection.node());
        connection.greeting.check(address).map_err(Fault::Permanent)?;
        server.must_be_primary(connection.node(), &connection.greeting.role).map_err(Fault::Transient)?;
        if address.database() != 0 {
            connection.expect(server, "SELECT", "+select").await?;
        }
        Ok(connection)
    }

    fn on(socket: Box<dyn Socket>, node: Option<Node>) -> Self {
        Self {
            socket,
            input: BytesMut::with_capacity(16 << 10),
            greeting: Greeting::default(),
            node,
            login: Login::default(),
        }
    }

    /// What it has logged in with.
    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// Whether it has to log in again before what it logged in with expires.
    pub(crate) fn is_outdated(&self, server: &Server) -> bool {
        server.logins().newer(&self.login).is_some()
    }

    /// Logs in with the credentials of now, if it has not. To be called where no transaction is queued.
    pub(crate) async fn log_in_again(&mut self, server: &Server) -> Result<(), Fault> {
        let Some(login) = server.logins().newer(&self.login) else { return Ok(()) };
        let mut out = Vec::new();
        let Some((user, password)) = user_and_password(&login) else { return Ok(()) };
        resp::command(&mut out, &[b"AUTH", user.as_bytes(), password.as_bytes()]);
        self.send(&out).await?;
        if let Some(answer) = self.receive(|reply| reply.error()).await? {
            // It stays logged in as it was. A handshake finds out more.
            tracing::warn!("the server refused new credentials on an open connection: {answer}");
        }
        self.login = login;
        Ok(())
    }

    /// The id that the server knows it by, as in `CLIENT LIST`.
    pub(crate) fn id(&self) -> u64 {
        self.greeting.id
    }

    /// Whether the server says that it is a node of a cluster.
    pub(crate) fn is_clustered(&self) -> bool {
        self.greeting.is_clustered
    }

    /// The node that it leads to, where there are several.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Writes everything. Only a peer that takes nothing at all for too long is given up.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match retry_at_start(self.socket.write(bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        retry_at_start(self.socket.flush()).await
    }

    /// Waits for the next reply and looks at it.
    pub(crate) async fn receive<T>(&mut self, look: impl Fn(Reply<'_>) -> T) -> Result<T, Fault> {
        self.receive_as(|input| Ok(reply::parse(input)?.map(|(reply, used)| (look(reply), used)))).await
    }

    /// Takes replies off the front that are this very line, of those that were read, and `most` at most.
    pub(crate) fn skip(&mut self, line: &[u8], most: usize) -> usize {
        let count = self.input.chunks_exact(line.len()).take(most).take_while(|reply| *reply == line).count();
        self.input.advance(count * line.len());
        count
    }

    /// Waits until `parse` has found a whole reply at the front of what was read: it tells how many bytes that
    /// takes.
    pub(crate) async fn receive_as<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, FrameError>,
    ) -> Result<T, Fault> {
        loop {
            if let Some((seen, used)) = parse(&self.input)? {
                self.input.advance(used);
                return Ok(seen);
            }
            self.read_more(16 << 10).await?;
        }
    }

    /// The same, and hands out the bytes of the reply, shared with the memory that they were read into.
    pub(crate) async fn receive_whole<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, FrameError>,
    ) -> Result<(T, Bytes), Fault> {
        loop {
            if let Some((seen, used)) = parse(&self.input)? {
                return Ok((seen, self.input.split_to(used).freeze()));
            }
            self.read_more(64 << 10).await?;
        }
    }

    async fn read_more(&mut self, room: usize) -> Result<(), Fault> {
        self.input.reserve(room);
        if retry_at_start(self.socket.read_buf(&mut self.input)).await? == 0 {
            return Err(Fault::Transient("the server closed the connection".to_owned()));
        }
        Ok(())
    }

    /// Waits for the next reply, and takes any but an error for a yes.
    pub(crate) async fn expect(
        &mut self,
        server: &Server,
        what: &'static str,
        needs: &str,
    ) -> Result<(), Fault> {
        match self.receive(|reply| reply.error()).await? {
            None => Ok(()),
            Some(answer) => match server.fault(what, needs, &answer) {
                Fault::Transient(answer) if Kind::of(&answer) == Kind::Unknown => {
                    let address = server.address().to_string();
                    Err(Fault::Permanent(Error::Protocol { address, what, answer }))
                }
                fault => Err(fault),
            },
        }
    }

    /// The socket, and what was read from it and not yet looked at.
    pub(crate) fn into_parts(self) -> (Box<dyn Socket>, BytesMut) {
        (self.socket, self.input)
    }
}

/// What a login consists of, if it needs one.
pub(crate) fn user_and_password(login: &Login) -> Option<(&str, &str)> {
    let credentials = login.credentials.as_ref()?;
    Some((credentials.user().unwrap_or("default"), credentials.password()))
}

/// Waits for a peer, and gives up on one that does nothing.
///
/// The wait has two parts, so that one that passes unnoticed is not enough: a process that was stopped for a
/// while finds its timers over when it goes on, before it has looked at what the peer answered meanwhile.
async fn retry_at_start<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut exchange = pin!(exchange);
    for part in [RESPONSE_TIMEOUT - LAST_LOOK, LAST_LOOK] {
        if let Ok(done) = timeout(part, &mut exchange).await {
            return done;
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {}", Lasted(RESPONSE_TIMEOUT))))
}
