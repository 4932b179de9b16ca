//! The server: how to open a socket to it, and which error to report when that fails.

mod advice;
mod probe;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "server/no_tls.rs"]
mod tls;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use self::tls::Encryption;
use super::channel::{Channel, ChannelKind};
use super::cluster::{Cluster, Node};
use super::login::Logins;
use super::sentinel::Service;
use crate::address::{Address, Endpoint};
use crate::config::Tls;
use crate::error::Error;
use crate::slot;
use crate::text::Lasted;

/// How long opening a socket may take, and how long a command may stay without an answer.
pub(crate) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a node of a cluster may take to say that it no longer serves a slot, after other nodes have said so.
pub(crate) const LAST_WORD: Duration = Duration::from_millis(100);

/// The server to connect to: that of the address. On a cluster, the node that serves the request. Behind sentinels,
/// the primary that they name.
#[derive(Clone)]
pub(crate) struct Server {
    access: Arc<Access>,
    serves: Serves,
}

/// The key or channel that a node must serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serves {
    /// Nothing in particular: the configured address will do.
    Anything,
    /// This slot.
    Slot(u16),
    /// A plain channel with this slot. Every node serves it; the slot only spreads channels over the nodes.
    Channel(u16),
}

/// How to reach the address, and what was found there. Shared by all connections of a group.
struct Access {
    address: Address,
    encryption: Option<Encryption>,
    /// Set once: the cluster that the server belongs to, or what it answered instead.
    cluster: OnceLock<Result<Cluster, String>>,
    /// What the sentinels of the address say.
    service: Option<Service>,
    logins: Logins,
}

/// A socket of any kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket for S {}

impl Server {
    /// Reads the certificates, if there are any.
    ///
    /// # Errors
    /// If a file cannot be read or holds no certificate or key, or for TLS if the feature is off.
    pub(crate) fn new(address: Address, tls: &Tls) -> Result<Arc<Self>, Error> {
        let encryption = if address.is_tls() { Some(Encryption::new(tls)?) } else { None };
        let (cluster, service) = match address.endpoint() {
            Endpoint::Sentinels(sentinels) => {
                (OnceLock::from(Err("sentinels watch no cluster".to_owned())), Some(Service::new(sentinels)))
            }
            Endpoint::Tcp { .. } | Endpoint::Tls { .. } | Endpoint::Unix(_) => (OnceLock::new(), None),
        };
        Ok(Arc::new(Self {
            access: Arc::new(Access { address, encryption, cluster, service, logins: Logins::new() }),
            serves: Serves::Anything,
        }))
    }

    /// The server that serves this key.
    pub(crate) fn of(&self, key: &str) -> Arc<Self> {
        self.that_serves(Serves::Slot(slot::of(key)))
    }

    /// The server that delivers this channel.
    pub(crate) fn of_channel(&self, channel: &Channel) -> Arc<Self> {
        let slot = slot::of(&channel.name);
        self.that_serves(match channel.kind {
            ChannelKind::Plain => Serves::Channel(slot),
            ChannelKind::Sharded => Serves::Slot(slot),
        })
    }

    fn that_serves(&self, serves: Serves) -> Arc<Self> {
        Arc::new(Self { access: self.access.clone(), serves })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.access.address
    }

    /// The cluster of the address, once that is known.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.access.cluster.get()?.as_ref().ok()
    }

    /// The service that the sentinels of the address are asked for.
    pub(crate) fn service(&self) -> Option<&Service> {
        self.access.service.as_ref()
    }

    /// The logins of the group.
    pub(crate) fn logins(&self) -> &Logins {
        &self.access.logins
    }

    /// Whether another server may replace it, with less data.
    pub(crate) fn has_successors(&self) -> bool {
        self.cluster().is_some() || self.service().is_some()
    }

    /// Whether it is known if the address belongs to a cluster.
    pub(crate) fn is_explored(&self) -> bool {
        self.access.cluster.get().is_some()
    }

    /// Stores what was found at the address.
    pub(crate) fn explored(&self, cluster: Result<Cluster, String>) {
        // Two tasks may have asked. Both got the same answer.
        let _ = self.access.cluster.set(cluster);
    }

    /// Whether the node is chosen by what it serves.
    pub(crate) fn is_one_of_many(&self) -> bool {
        self.cluster().is_some() && self.serves != Serves::Anything
    }

    /// The node to connect to, if it is known; `None` for the configured address.
    ///
    /// # Errors
    /// The slot without a node.
    pub(crate) fn node(&self) -> Result<Option<Node>, u16> {
        match (self.cluster(), self.serves) {
            (None, _) | (_, Serves::Anything) => Ok(None),
            (Some(cluster), Serves::Slot(slot)) => cluster.primary(slot).ok_or(slot).map(Some),
            (Some(cluster), Serves::Channel(slot)) => Ok(cluster.any(slot)),
        }
    }

    /// Waits until this node no longer serves the request. Returns a time when it still did. Waits forever if there
    /// is only one server.
    pub(crate) async fn left(&self, node: Option<&Node>) -> Instant {
        match (self.cluster(), self.serves, self.service(), node) {
            (Some(cluster), Serves::Slot(slot), _, Some(node)) => cluster.left(slot, node).await,
            (Some(cluster), Serves::Channel(_), _, Some(node)) => cluster.gone(node).await,
            (None, _, Some(service), Some(node)) => service.left(node).await,
            _ => std::future::pending().await,
        }
    }

    /// Waits until the sentinels name another server than this node, whose answers then count for nothing. Waits for
    /// ever on a cluster: a node that a slot has left serves others, and still answers whether the last commands
    /// happened.
    pub(crate) async fn replaced(&self, node: Option<&Node>) {
        match (self.service(), node) {
            (Some(service), Some(node)) => drop(service.left(node).await),
            _ => std::future::pending().await,
        }
    }

    /// Why a connection to a node that was left is given up.
    pub(crate) fn why_left(&self) -> &'static str {
        match self.service() {
            Some(_) => "the service has a new primary",
            None => "the slot has a new primary",
        }
    }

    /// Checks that the node calls itself a primary. The sentinel that named it may not know yet that it was
    /// replaced.
    pub(crate) fn must_be_primary(&self, node: Option<&Node>, role: &[u8]) -> Result<(), String> {
        match (self.service(), node) {
            (Some(service), Some(node)) if role != b"master" => {
                Err(format!("{node} is not the primary of {} now", service.name()))
            }
            _ => Ok(()),
        }
    }

    /// No connection to this node could be opened, or it is silent.
    pub(crate) fn suspect(&self, node: Option<&Node>) {
        let Some(node) = node else { return };
        if let Some(service) = self.service() {
            service.suspect(node);
        }
        if let Some(cluster) = self.cluster() {
            cluster.suspect(node);
        }
    }

    /// Opens a socket to the node, or else to the address. Encrypts it if the address says so.
    pub(crate) async fn socket(&self, node: Option<&Node>) -> io::Result<Box<dyn Socket>> {
        let socket = timeout(RESPONSE_TIMEOUT, self.open(node)).await.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {}", Lasted(RESPONSE_TIMEOUT)),
            ))
        });
        match node {
            // All other texts name the configured address, which is not this node's.
            Some(node) => {
                socket.map_err(|error| io::Error::new(error.kind(), format!("node {node}: {error}")))
            }
            None => socket,
        }
    }

    /// Does the same without a time limit. The node may also be a sentinel.
    pub(crate) async fn open(&self, node: Option<&Node>) -> io::Result<Box<dyn Socket>> {
        let (host, port) = match (node, self.address().endpoint()) {
            (Some(node), _) => (node.host.as_str(), node.port),
            (None, Endpoint::Tcp { host, port } | Endpoint::Tls { host, port }) => (host.as_str(), *port),
            (None, Endpoint::Unix(path)) => return Ok(Box::new(UnixStream::connect(path).await?)),
            (None, Endpoint::Sentinels(_)) => return Err(io::Error::other("no primary is known")),
        };
        match self.address().is_tls() {
            true => self.encrypted(host, port).await,
            false => Ok(Box::new(tcp(host, port).await?)),
        }
    }

    async fn encrypted(&self, host: &str, port: u16) -> io::Result<Box<dyn Socket>> {
        let encryption =
            self.access.encryption.as_ref().ok_or_else(|| io::Error::other("TLS was not set up"))?;
        encryption.encrypt(host, tcp(host, port).await?).await
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // A commit is one write, and its answer is awaited: holding back a part gains nothing.
    stream.set_nodelay(true)?;
    Ok(stream)
}
