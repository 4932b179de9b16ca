//! Connections for the program of this workspace, which loads and checks the servers that it runs groups against. Not a
//! part of the library's interface: it may change with any version.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisError};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::config::{Config, Tls};
use crate::credentials::BoxError;
use crate::error::Error;
use crate::redis::channel::{Channel, ChannelKind};
use crate::redis::cluster::Node;
use crate::redis::connection::{Connection, explore, locate};
use crate::redis::control::{Control, answer, connected};
use crate::redis::fault::{Fault, Kind};
use crate::redis::login::NO_CREDENTIALS;
use crate::redis::nodes::Nodes;
use crate::redis::server::Server;
use crate::redis::startup::{answered, retry_at_start};
pub use crate::rejected::RejectedEntry;

pub use crate::redis::link::Link;

/// Why an option, with its name in the program, has no effect in this configuration: the end of a sentence that begins
/// with "… has no effect". A group warns of such settings at its start, unless they have their defaults.
#[must_use]
pub fn why_without_effect(config: &Config, option: &str) -> Option<&'static str> {
    config.why_without_effect(option)
}

/// Opens a connection, with the retries of a group's start.
///
/// # Errors
/// A server that is not reachable for five seconds, or that refuses the login; certificates that cannot be read.
pub async fn connect(address: &Address, tls: &Tls) -> Result<MultiplexedConnection, Error> {
    let server = Server::new(address.clone(), tls)?;
    let control = Control(server.clone());
    retry_at_start(&server, async || answered(connected(&control)).await).await.map(Link::into_connection)
}

/// Finds the server of a name: the server of the address; in a cluster, the primary of its slot, or for a plain channel
/// any node; behind sentinels, the primary that they name.
#[derive(Clone)]
pub struct Router {
    server: Arc<Server>,
    names: Names,
}

/// The kind of names that a [`Router`] looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Keys or sharded channels.
    Keys,
    /// Plain channels.
    Channels,
}

/// The server that a connection leads to. The default is the address itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place(Option<Node>);

impl Router {
    /// Asks the server whether it belongs to a cluster.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn new(address: &Address, tls: &Tls, names: Names) -> Result<Self, Error> {
        let server = Server::new(address.clone(), tls)?;
        retry_at_start(&server, async || answered(explore(&server)).await).await?;
        Ok(Self { server, names })
    }

    /// Whether the address belongs to a cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.server.cluster().is_some()
    }

    /// Whether another server may take over a name.
    #[must_use]
    pub fn has_others(&self) -> bool {
        self.server.has_successors()
    }

    /// Refuses sharded channels without a cluster, as a group does.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::Refused`] by a server that does not permit the question.
    pub fn must_be_a_cluster(&self) -> Result<(), Error> {
        self.server.must_be_a_cluster()
    }

    /// The server of this name. The topology is refreshed first, unless that was just done.
    ///
    /// # Errors
    /// When no server has served the name for five seconds.
    pub async fn place(&self, name: &str) -> Result<Place, Error> {
        let control = Control(self.of(name));
        let asked = control.clone();
        retry_at_start(&control.0, move || answered(locating(asked.clone()))).await
    }

    /// Opens a connection to the server of this name. Each attempt looks the server up again.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(&self, name: &str) -> Result<(Place, Link), Error> {
        let control = Control(self.of(name));
        let opened = control.clone();
        retry_at_start(&control.0, move || answered(opening(opened.clone()))).await
    }

    fn of(&self, name: &str) -> Arc<Server> {
        match self.names {
            Names::Keys => self.server.of(name),
            Names::Channels => self.server.of_channel(&Channel::new(name, ChannelKind::Plain)),
        }
    }

    /// Learns from a node's refusal which node serves a slot now, if the refusal says so.
    pub fn learn(&self, refusal: &RedisError) {
        if let Some(cluster) = self.server.cluster() {
            cluster.learn(&answer(refusal));
        }
    }
}

/// Streams to query, each at the node that serves it, over one connection per node.
pub struct Streams {
    server: Arc<Server>,
    open: Nodes,
    /// The option that names them.
    option: &'static str,
}

impl Streams {
    /// Creates the set without connecting.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(address: &Address, tls: &Tls, option: &'static str) -> Result<Self, Error> {
        let server = Server::new(address.clone(), tls)?;
        Ok(Self { open: Nodes::new(server.clone()), server, option })
    }

    /// Runs a command whose first argument is the stream. It is repeated when its answer was lost.
    ///
    /// # Errors
    /// As [`connect`]; a refusal by the server; a key of another type.
    pub async fn ask<T: FromRedisValue>(
        &mut self,
        command: &str,
        stream: &str,
        arguments: &[&str],
    ) -> Result<T, Error> {
        let (server, option, open) = (self.server.clone(), self.option, &mut self.open);
        let mut call = redis::cmd(command);
        call.arg(stream).arg(arguments);
        let asking = retry_at_start(&server, async || {
            // After a fault the connections may be broken: only those of a successful attempt are kept.
            let mut nodes = std::mem::replace(open, Nodes::new(server.clone()));
            let asking = async {
                explore(&server).await?;
                let (control, connection) = nodes.at(stream).await?;
                call.query_async(connection)
                    .await
                    .map_err(|error| refused(&control, command, stream, option, &error))
            };
            let answer = answered(asking).await?;
            *open = nodes;
            Ok(answer)
        });
        asking.await
    }
}

/// The fault behind a refused command on a stream.
fn refused(
    control: &Control,
    command: &str,
    stream: &str,
    option: &'static str,
    error: &RedisError,
) -> Fault {
    let answer = answer(error);
    if Kind::of(&answer) == Kind::WrongType {
        return Fault::Permanent(Error::WrongType {
            key: stream.to_owned(),
            found: format!("value of another type ({answer})"),
            needed: "stream",
            option,
        });
    }
    let needs = format!("+{} ~{stream}", command.to_lowercase());
    control.fault(&format!("{command} {stream}"), &needs, error)
}

/// These two functions own their arguments: with a borrow in a repeated attempt, the compiler does not see that the
/// whole future can be spawned.
async fn locating(control: Control) -> Result<Place, Fault> {
    locate(&control.0).await.map(Place)
}

async fn opening(control: Control) -> Result<(Place, Link), Fault> {
    let node = locate(&control.0).await?;
    let link = control.open(node.as_ref()).await?;
    Ok((Place(node), link))
}

/// Opens a socket that has logged in and selected the database, with the same retries. The caller decides what to send
/// next.
///
/// # Errors
/// As [`connect`].
pub async fn open_socket(
    address: &Address,
    tls: &Tls,
    name: &str,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, Error> {
    let server = Server::new(address.clone(), tls)?;
    let connection = retry_at_start(&server, async || Connection::open(&server, name).await).await?;
    // Every answer of the handshake was awaited, so no further bytes were read.
    Ok(connection.into_parts().0)
}

/// The address as a URL with the current password: to pass it to a child process through a pipe.
///
/// # Errors
/// When the credentials are not available.
pub async fn secret_url(address: &Address) -> Result<String, Error> {
    let unreachable = |cause: BoxError| Error::Unreachable {
        address: address.to_string(),
        cause: format!("{NO_CREDENTIALS}: {cause}"),
        try_next: "fix the credentials, then start again".to_owned(),
    };
    Ok(address.secret_url(address.credentials().await.map_err(unreachable)?.as_ref()))
}
