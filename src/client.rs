//! A connection for the program of this workspace, which loads and checks the servers that it runs a group
//! against. No part of the library's interface: it may change with any version.

use redis::aio::MultiplexedConnection;

use crate::address::Address;
use crate::config::Tls;
use crate::error::Error;
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
