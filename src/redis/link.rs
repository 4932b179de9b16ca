//! A connection of the client crate that is kept from one call to the next.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

/// The connection, and whether it still is one. Its task ends with the last clone of the connection.
#[derive(Debug, Clone)]
pub struct Link {
    connection: MultiplexedConnection,
    driver: Arc<JoinHandle<()>>,
}

impl Link {
    /// Spawns the task that the connection works in.
    pub(crate) fn new(
        connection: MultiplexedConnection,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { connection, driver: Arc::new(tokio::spawn(driver)) }
    }

    /// Whether the connection has ended already, as when the server closes those that were idle (`timeout`). Nothing was
    /// sent then, so whoever has a call to make opens another connection, and has lost nothing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished()
    }

    /// The connection alone.
    pub(crate) fn into_connection(self) -> MultiplexedConnection {
        self.connection
    }
}

impl Deref for Link {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.connection
    }
}

impl DerefMut for Link {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.connection
    }
}
