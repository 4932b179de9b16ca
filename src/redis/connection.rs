//! A connection with our own RESP2 code: one for each lane, and the subscriber's before it subscribes.

mod hello;
mod route;
mod sentinels;

use std::fmt::Display;
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
    /// What the handshake showed about the connection and the server.
    greeting: Greeting,
    /// The node at the other end, if there are several.
    node: Option<Node>,
    /// The credentials that it logged in with.
    login: Login,
}

impl Connection {
    /// Opens a socket, authenticates, and selects the database. `CLIENT LIST` shows `name`.
    pub(crate) async fn open(server: &Server, name: &str) -> Result<Self, Fault> {
        let node = locate(server).await?;
        Self::open_to(server, node, name).await
    }

    /// Opens a connection to this node; without one, to the configured address. A node that fails is suspected.
    pub(crate) async fn open_to(server: &Server, node: Option<Node>, name: &str) -> Result<Self, Fault> {
        let opened = Self::open_at(server, node.clone(), name).await;
        if opened.is_err() {
            server.suspect(node.as_ref());
        }
        opened
    }

    /// Does the same, without suspecting the node if it fails.
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
        let at: &dyn Display = connection.node.as_ref().map_or(address, |node| node);
        connection.greeting.check(at).map_err(Fault::Permanent)?;
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

    /// The credentials that it logged in with.
    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    /// Whether newer credentials are available, so that it should log in again.
    pub(crate) fn is_outdated(&self, server: &Server) -> bool {
        server.logins().newer(&self.login).is_some()
    }

    /// Logs in again if newer credentials are available. Call it only while no transaction is queued.
    pub(crate) async fn log_in_again(&mut self, server: &Server) -> Result<(), Fault> {
        let Some(login) = server.logins().newer(&self.login) else { return Ok(()) };
        let mut out = Vec::new();
        let Some((user, password)) = user_and_password(&login) else { return Ok(()) };
        resp::command(&mut out, &[b"AUTH", user.as_bytes(), password.as_bytes()]);
        self.send(&out).await?;
        if let Some(answer) = self.receive(|reply| reply.error()).await? {
            // The connection stays logged in as before. The next handshake shows more.
            tracing::warn!("the server refused new credentials on an open connection: {answer}");
        }
        self.login = login;
        Ok(())
    }

    /// The connection's id in `CLIENT LIST`.
    pub(crate) fn id(&self) -> u64 {
        self.greeting.id
    }

    /// Whether the server is a node of a cluster, by its handshake.
    pub(crate) fn is_clustered(&self) -> bool {
        self.greeting.is_clustered
    }

    /// The node at the other end, if there are several.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Writes everything. Fails only if the peer takes no byte at all for too long.
    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match with_timeout(self.socket.write(bytes)).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        with_timeout(self.socket.flush()).await
    }

    /// Waits for the next reply, and returns what `look` makes of it.
    pub(crate) async fn receive<T>(&mut self, look: impl Fn(Reply<'_>) -> T) -> Result<T, Fault> {
        self.receive_as(|input| Ok(reply::parse(input)?.map(|(reply, used)| (look(reply), used)))).await
    }

    /// Removes replies equal to `line` from the front of what was read, at most `most`. Returns how many.
    pub(crate) fn skip(&mut self, line: &[u8], most: usize) -> usize {
        let count = self.input.chunks_exact(line.len()).take(most).take_while(|reply| *reply == line).count();
        self.input.advance(count * line.len());
        count
    }

    /// Waits until `parse` finds a whole reply at the front of what was read. `parse` also returns the reply's length
    /// in bytes.
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

    /// Does the same, and also returns the bytes of the reply. They share the memory that they were read into.
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
        if with_timeout(self.socket.read_buf(&mut self.input)).await? == 0 {
            return Err(Fault::Transient("the server closed the connection".to_owned()));
        }
        Ok(())
    }

    /// Waits for the next reply. Anything but an error is a success.
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

    /// The socket, and the input that was read but not parsed.
    pub(crate) fn into_parts(self) -> (Box<dyn Socket>, BytesMut) {
        (self.socket, self.input)
    }
}

/// The user and password of a login, if it needs one.
pub(crate) fn user_and_password(login: &Login) -> Option<(&str, &str)> {
    let credentials = login.credentials.as_ref()?;
    Some((credentials.user().unwrap_or("default"), credentials.password()))
}

/// Limits the wait for a peer that does nothing.
///
/// The wait has two parts for a process that was stopped for a while. When it continues, its timer is over before it
/// has read what the peer answered meanwhile. The second part leaves time to read that.
async fn with_timeout<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut exchange = pin!(exchange);
    for part in [RESPONSE_TIMEOUT - LAST_LOOK, LAST_LOOK] {
        if let Ok(done) = timeout(part, &mut exchange).await {
            return done;
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer for {}", Lasted(RESPONSE_TIMEOUT))))
}
