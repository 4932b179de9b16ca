//! One connection to each node that is asked about keys.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;

use super::cluster::Node;
use super::connection::locate;
use super::control::{Control, connected};
use super::fault::Fault;
use super::link::Link;
use super::server::Server;

/// The open connections. They close when this is dropped.
pub(crate) struct Nodes {
    server: Arc<Server>,
    connections: HashMap<Option<Node>, Link>,
}

impl Nodes {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server, connections: HashMap::new() }
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The connection to the node that serves the key.
    pub(crate) async fn at(&mut self, key: &str) -> Result<(Control, &mut MultiplexedConnection), Fault> {
        let control = Control(self.server.of(key));
        let connection = match self.connections.entry(locate(&control.0).await?) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(none) => none.insert(connected(&control).await?),
        };
        Ok((control, connection))
    }
}
