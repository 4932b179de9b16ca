//! Connections for everything but messages and commits: on these, the client crate speaks.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value, from_redis_value};

use super::cluster::Node;
use super::connection::locate;
use super::fault::{Fault, Kind};
use super::ids::{Connect, IdsError};
use super::link::Link;
use super::server::Server;
use crate::error::Error;

/// Opens connections to a server. The same sockets as everywhere, so TLS and timeouts are the same too.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) Arc<Server>);

impl Control {
    /// What an error of the client crate means for us; `needs` is what an ACL rule must have for the command.
    pub(crate) fn fault(&self, what: &str, needs: &str, error: &RedisError) -> Fault {
        let answer = answer(error);
        match Kind::of(&answer) {
            // The handshake: the crate says so instead of the server.
            _ if error.kind() == redis::ErrorKind::AuthenticationFailed => {
                self.0.fault("the login", "", &format!("WRONGPASS {answer}"))
            }
            _ => self.0.fault(what, needs, &answer),
        }
    }

    /// The same for the ids.
    pub(crate) fn ids_fault(&self, error: IdsError) -> Fault {
        let address = self.0.address().to_string();
        match error {
            IdsError::Refused { .. } => Fault::Permanent(Error::Ids { address, source: Box::new(error) }),
            IdsError::WrongType { key, source } => Fault::Permanent(Error::WrongType {
                key,
                found: format!("key of another type, or a key beside it does ({})", answer(&source)),
                needed: "list",
                option: "ids-key",
            }),
            // Where no cluster is known that it could be in, waiting does not help.
            IdsError::Away { key, source } => self.fault(&format!("the ids in {key}"), "", &source),
            error @ IdsError::Silent { .. } => Fault::Transient(error.to_string()),
        }
    }
}

impl Control {
    /// Opens a connection to this node, or to the very address.
    pub(crate) async fn open(&self, node: Option<&Node>) -> Result<Link, RedisError> {
        let address = self.0.address();
        let mut info =
            RedisConnectionInfo::default().set_skip_set_lib_name().set_db(i64::from(address.database()));
        if let Some(password) = address.password() {
            info = info.set_username(address.user()).set_password(password);
        }
        // Whoever asks has a limit of their own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let opened = self.open_with(&info, config, node).await;
        if opened.is_err() {
            self.0.suspect(node);
        }
        opened
    }

    async fn open_with(
        &self,
        info: &RedisConnectionInfo,
        config: AsyncConnectionConfig,
        node: Option<&Node>,
    ) -> Result<Link, RedisError> {
        let socket = self.0.socket(node).await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(info, socket, config).await?;
        let (server, at) = (self.0.clone(), node.cloned());
        let mut link = Link::new(connection, async move {
            // Ends when its server was replaced, too: then whoever asks next opens another.
            tokio::select! {
                () = driver => {}
                () = server.replaced(at.as_ref()) => {}
            }
        });
        if self.0.service().is_some() {
            // Needs no permission, unlike ROLE.
            let hello: HashMap<String, Value> = redis::cmd("HELLO").query_async(&mut *link).await?;
            let role = hello.get("role").cloned().map_or(Ok(Vec::new()), from_redis_value)?;
            self.0.must_be_primary(node, &role).map_err(io::Error::other)?;
        }
        Ok(link)
    }
}

impl Connect for Control {
    async fn connect(&mut self) -> Result<Link, RedisError> {
        let node = locate(&self.0).await.map_err(unlocated)?;
        self.open(node.as_ref()).await
    }

    fn elsewhere(&self, key: &str) -> Option<Self> {
        self.0.cluster().is_some().then(|| Self(self.0.of(key)))
    }
}

fn unlocated(fault: Fault) -> RedisError {
    let cause = match fault {
        Fault::Transient(cause) => cause,
        Fault::Permanent(error) => error.to_string(),
    };
    io::Error::new(io::ErrorKind::NotConnected, cause).into()
}

/// A connection, or what kept us from having one.
pub(crate) async fn connected(control: &mut Control) -> Result<Link, Fault> {
    // What waiting does not repair is an error of the client crate no more, once it has come through there.
    locate(&control.0).await?;
    control.connect().await.map_err(|error| control.fault("the connection", "+select", &error))
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
