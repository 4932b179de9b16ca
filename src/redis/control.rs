//! Connections for everything but messages and commits: on these, the client crate speaks.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};

use super::cluster::Node;
use super::connection::{Connection, locate};
use super::fault::Fault;
use super::ids::{Connect, IdsError};
use super::link::Link;
use super::server::Server;
use crate::error::Error;

/// What `CLIENT LIST` shows.
const NAME: &str = "redis-consumer-group:control";

/// Opens connections to a server. The same sockets as everywhere, so TLS and timeouts are the same too.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) Arc<Server>);

impl Control {
    /// What an error of the client crate means for us; `needs` is what an ACL rule must have for the command.
    pub(crate) fn fault(&self, what: &str, needs: &str, error: &RedisError) -> Fault {
        self.0.fault(what, needs, &answer(error))
    }

    /// The same for the ids.
    pub(crate) fn ids_fault(&self, error: IdsError) -> Fault {
        let address = self.0.address().to_string();
        match error {
            IdsError::Refused { .. } => Fault::Permanent(Error::Ids { address, source: Box::new(error) }),
            IdsError::Unconnected(error) => Fault::Permanent(error),
            IdsError::WrongType { key, source } => Fault::Permanent(Error::WrongType {
                key,
                found: format!("key of another type, or a key beside it does ({})", answer(&source)),
                needed: "list",
                option: "ids-key",
            }),
            // Where no cluster is known that it could be in, waiting does not help.
            IdsError::Away { key, source } | IdsError::NotLoggedIn { key, source } => {
                self.fault(&format!("the ids in {key}"), "", &source)
            }
            error @ IdsError::Silent { .. } => Fault::Transient(error.to_string()),
        }
    }
}

impl Control {
    /// Opens a connection to this node, or to the very address.
    pub(crate) async fn open(&self, node: Option<&Node>) -> Result<Link, Fault> {
        // All that the handshake has to say is the same as everywhere: the client crate gets a socket that is logged in.
        let connection = Connection::open_to(&self.0, node.cloned(), NAME).await?;
        let login = connection.login().clone();
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        // Whoever asks has a limit of their own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        // Every answer of the handshake was waited for, so nothing more has been read.
        let socket = connection.into_parts().0;
        let opened = MultiplexedConnection::new_with_config(&info, socket, config).await;
        let (connection, driver) = opened.map_err(|error| self.fault("the connection", "", &error))?;
        let (server, at) = (self.0.clone(), node.cloned());
        let link = Link::new(connection, async move {
            // Ends when its server was replaced, too: then whoever asks next opens another.
            tokio::select! {
                () = driver => {}
                () = server.replaced(at.as_ref()) => {}
            }
        });
        Ok(link.logged_in(self.0.logins().valid(&login)))
    }
}

impl Connect for Control {
    async fn connect(&mut self) -> Result<Link, Fault> {
        connected(self).await
    }

    fn elsewhere(&self, key: &str) -> Option<Self> {
        self.0.cluster().is_some().then(|| Self(self.0.of(key)))
    }
}

/// A connection, or what kept us from having one.
pub(crate) async fn connected(control: &Control) -> Result<Link, Fault> {
    let node = locate(&control.0).await?;
    control.open(node.as_ref()).await
}

/// The server's answer as it was, or what happened instead of one.
pub(crate) fn answer(error: &RedisError) -> String {
    // Of a pipeline the first refusal is the one that counts.
    if let Some((_, first)) = error.clone().into_server_errors().as_deref().and_then(|errors| errors.first())
    {
        return format!("{} {}", first.code(), first.details().unwrap_or_default());
    }
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        _ => error.to_string(),
    }
}
