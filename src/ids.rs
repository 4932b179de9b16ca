//! The ids of the consumers that are alive, for people and programs that look at them from outside of a group.

use redis::aio::MultiplexedConnection;

use crate::address::Address;
use crate::config::Tls;
use crate::error::Error;
use crate::redis::control::{Control, connected};
use crate::redis::ids::{self as store, IdsError};
use crate::redis::patience::{answered, patiently};
use crate::redis::server::Server;

pub use crate::redis::ids::{Lease, ListedId};

/// All ids in the list at `key`, oldest first, each with the state of its process's lease.
///
/// # Errors
/// A server that is not reachable for five seconds, or refuses what is needed; a key that holds something else.
pub async fn list(address: &Address, tls: &Tls, key: &str) -> Result<Vec<ListedId>, Error> {
    at(address, tls, async |mut connection| store::list(&mut connection, key).await).await
}

/// Empties the list at `key`, and tells how many ids it had. Living processes put theirs back within seconds.
///
/// # Errors
/// As for [`list`].
pub async fn clear(address: &Address, tls: &Tls, key: &str) -> Result<u64, Error> {
    at(address, tls, async |mut connection| store::clear(&mut connection, key).await).await
}

async fn at<T>(
    address: &Address,
    tls: &Tls,
    ask: impl AsyncFn(MultiplexedConnection) -> Result<T, IdsError>,
) -> Result<T, Error> {
    let server = Server::new(address.clone(), tls)?;
    let mut control = Control(server.clone());
    patiently(&server, async || {
        let asking = async {
            let connection = connected(&mut control).await?;
            ask(connection).await.map_err(|error| control.ids_setback(error))
        };
        answered(asking).await
    })
    .await
}
