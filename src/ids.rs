//! The ids of the living consumers, for people and programs outside of a group.

use redis::aio::MultiplexedConnection;

use crate::address::Address;
use crate::config::Tls;
use crate::error::Error;
use crate::redis::connection::explore;
use crate::redis::ids::{self as store, IdsError};
use crate::redis::nodes::Nodes;
use crate::redis::server::Server;
use crate::redis::startup::{answered, retry_at_start};

pub use crate::redis::ids::{Lease, ListedId};

/// All ids in the list at `key`, oldest first, each with the state of its process's lease.
///
/// # Errors
/// A server that is not reachable for five seconds, or that refuses a command; a key of another type.
pub async fn list(address: &Address, tls: &Tls, key: &str) -> Result<Vec<ListedId>, Error> {
    list_each(address, tls, &[key]).await.map(|lists| lists.into_iter().flatten().collect())
}

/// Like [`list`], for several lists (such as those of shards), in the order of the keys.
///
/// # Errors
/// As for [`list`].
pub async fn list_each(
    address: &Address,
    tls: &Tls,
    keys: &[impl AsRef<str>],
) -> Result<Vec<Vec<ListedId>>, Error> {
    at_each(address, tls, keys, async |mut connection, key| store::list(&mut connection, key).await).await
}

/// Empties the list at `key`, and returns how many ids it had. Living processes add their ids again within seconds.
///
/// # Errors
/// As for [`list`].
pub async fn clear(address: &Address, tls: &Tls, key: &str) -> Result<u64, Error> {
    clear_each(address, tls, &[key]).await.map(|removed| removed.into_iter().sum())
}

/// Like [`clear`], for several lists, one after the other. Returns how many ids each had.
///
/// # Errors
/// As for [`list`]. The lists before the one that failed are already empty.
pub async fn clear_each(address: &Address, tls: &Tls, keys: &[impl AsRef<str>]) -> Result<Vec<u64>, Error> {
    at_each(address, tls, keys, async |mut connection, key| store::clear(&mut connection, key).await).await
}

/// Asks the node that serves each key, over one connection per node.
async fn at_each<T>(
    address: &Address,
    tls: &Tls,
    keys: &[impl AsRef<str>],
    ask: impl AsyncFn(MultiplexedConnection, &str) -> Result<T, IdsError>,
) -> Result<Vec<T>, Error> {
    let server = Server::new(address.clone(), tls)?;
    let mut open = Nodes::new(server.clone());
    let mut answers = Vec::with_capacity(keys.len());
    for key in keys.iter().map(AsRef::as_ref) {
        let answer = retry_at_start(&server, async || {
            // After a fault the connections may be broken: only those of a successful attempt are kept.
            let mut nodes = std::mem::replace(&mut open, Nodes::new(server.clone()));
            let asking = async {
                explore(&server).await?;
                let (control, connection) = nodes.at(key).await?;
                ask(connection.clone(), key).await.map_err(|error| control.ids_fault(error))
            };
            let answer = answered(asking).await?;
            open = nodes;
            Ok(answer)
        });
        answers.push(answer.await?);
    }
    Ok(answers)
}
