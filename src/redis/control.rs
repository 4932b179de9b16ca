//! Connections for everything but messages and commits: on these, the client crate speaks.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};

use super::ids::{Connect, IdsError};
use super::server::Server;
use super::setback::{Kind, Setback};
use crate::error::Error;

/// Opens connections to a server. The same sockets as everywhere, so TLS and timeouts are the same too.
#[derive(Clone)]
pub(crate) struct Control(pub(crate) Arc<Server>);

impl Control {
    /// What an error of the client crate means for us; `needs` is what an ACL rule must have for the command.
    pub(crate) fn setback(&self, what: &str, needs: &str, error: &RedisError) -> Setback {
        let answer = answer(error);
        match Kind::of(&answer) {
            // The handshake: the crate says so instead of the server.
            _ if error.kind() == redis::ErrorKind::AuthenticationFailed => {
                self.0.setback("the login", "", &format!("WRONGPASS {answer}"))
            }
            _ => self.0.setback(what, needs, &answer),
        }
    }

    /// The same for the ids.
    pub(crate) fn ids_setback(&self, error: IdsError) -> Setback {
        let address = self.0.address().to_string();
        match error {
            IdsError::Refused { .. } => Setback::Final(Error::Ids { address, source: Box::new(error) }),
            IdsError::WrongType { key, source } => Setback::Final(Error::WrongType {
                key,
                found: format!("key of another type, or a key beside it does ({})", answer(&source)),
                needed: "list",
                option: "ids-key",
            }),
            IdsError::Away { source, .. } => Setback::Passing(answer(&source)),
            error @ IdsError::Silent { .. } => Setback::Passing(error.to_string()),
        }
    }
}

impl Connect for Control {
    async fn connect(&mut self) -> Result<MultiplexedConnection, RedisError> {
        let address = self.0.address();
        let mut info =
            RedisConnectionInfo::default().set_skip_set_lib_name().set_db(i64::from(address.database()));
        if let Some(password) = address.password() {
            info = info.set_username(address.user()).set_password(password);
        }
        // Whoever asks has a limit of their own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let socket = self.0.socket().await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, socket, config).await?;
        // Ends with the last clone of the connection.
        tokio::spawn(driver);
        Ok(connection)
    }
}

/// A connection, or what kept us from having one.
pub(crate) async fn connected(control: &mut Control) -> Result<MultiplexedConnection, Setback> {
    control.connect().await.map_err(|error| control.setback("the connection", "+select", &error))
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
