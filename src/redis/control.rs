//! Connections of the client crate, for everything but messages and commits.

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

/// The name that `CLIENT LIST` shows.
const NAME: &str = "redis-consumer-group:control";

/// Opens connections of the client crate through our own sockets, so TLS and timeouts are the same as everywhere.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) Arc<Server>);

impl Control {
    /// Turns an error of the client crate into a fault. `needs` is the ACL rule that permits the command.
    pub(crate) fn fault(&self, what: &str, needs: &str, error: &RedisError) -> Fault {
        self.0.fault(what, needs, &answer(error))
    }

    /// Turns an error of the ids into a fault.
    pub(crate) fn ids_fault(&self, error: IdsError) -> Fault {
        let address = self.0.address().to_string();
        match error {
            IdsError::Refused { .. } => Fault::Permanent(Error::Ids { address, source: Box::new(error) }),
            IdsError::Unconnected(error) => Fault::Permanent(error),
            IdsError::WrongType { key, source } => Fault::Permanent(Error::WrongType {
                key,
                found: format!("value of another type, or a key beside it does ({})", answer(&source)),
                needed: "list",
                option: "ids-key",
            }),
            // `fault` decides: unless the server belongs to a known cluster, waiting does not help.
            IdsError::Away { key, source } | IdsError::NotLoggedIn { key, source } => {
                self.fault(&format!("the ids in {key}"), "", &source)
            }
            error @ IdsError::Silent { .. } => Fault::Transient(error.to_string()),
        }
    }
}

impl Control {
    /// Opens a connection to this node; without one, to the configured address.
    pub(crate) async fn open(&self, node: Option<&Node>) -> Result<Link, Fault> {
        // The handshake is ours, as everywhere: the client crate gets a socket that is already logged in.
        let connection = Connection::open_to(&self.0, node.cloned(), NAME).await?;
        let login = connection.login().clone();
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        // Callers have their own time limits.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        // All replies of the handshake have been read, so no input is lost here.
        let socket = connection.into_parts().0;
        let opened = MultiplexedConnection::new_with_config(&info, socket, config).await;
        let (connection, driver) = opened.map_err(|error| self.fault("the connection", "", &error))?;
        let (server, at) = (self.0.clone(), node.cloned());
        let link = Link::new(connection, async move {
            // Also ends when the sentinels name another server. The next caller then opens another connection.
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

/// Opens a connection to the node that serves the request.
pub(crate) async fn connected(control: &Control) -> Result<Link, Fault> {
    let node = locate(&control.0).await?;
    control.open(node.as_ref()).await
}

/// The server's error reply word for word, or the client crate's error if there was no reply.
pub(crate) fn answer(error: &RedisError) -> String {
    // In a pipeline, the first refusal counts.
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
