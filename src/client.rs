//! A connection for the program of this workspace, which loads and checks the servers that it runs a group
//! against. No part of the library's interface: it may change with any version.

use redis::aio::MultiplexedConnection;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::config::Tls;
use crate::error::Error;
use crate::redis::connection::Connection;
use crate::redis::control::{Control, connected};
use crate::redis::patience::{answered, patiently};
use crate::redis::server::Server;

/// Opens a connection, with the patience that a group has at its start.
///
/// # Errors
/// A server that is not reachable for five seconds, or refuses the login; certificates that cannot be read.
pub async fn connect(address: &Address, tls: &Tls) -> Result<MultiplexedConnection, Error> {
    let server = Server::new(address.clone(), tls)?;
    let mut control = Control(server.clone());
    patiently(&server, async || answered(connected(&mut control)).await).await
}

/// Opens a socket that has logged in and selected the database, with the same patience. What comes next on it
/// is up to the caller.
///
/// # Errors
/// As [`connect`].
pub async fn open_socket(
    address: &Address,
    tls: &Tls,
    name: &str,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static, Error> {
    let server = Server::new(address.clone(), tls)?;
    let connection = patiently(&server, async || Connection::open(&server, name).await).await?;
    // Every answer of the handshake was waited for, so nothing more has been read.
    Ok(connection.into_parts().0)
}

/// The address as a URL with its password: for handing it to a process of one's own, over a pipe.
#[must_use]
pub fn secret_url(address: &Address) -> String {
    address.with_credentials()
}
