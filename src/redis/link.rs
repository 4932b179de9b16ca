//! A connection of the client crate that is kept from one call to the next.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

use super::login::Valid;

/// The connection, and whether it still is one. Its task ends with the last clone of the connection.
#[derive(Debug, Clone)]
pub struct Link {
    connection: MultiplexedConnection,
    driver: Arc<JoinHandle<()>>,
    /// Until when its login counts. Without it, for ever.
    valid: Option<Valid>,
}

impl Link {
    /// Spawns the task that the connection works in.
    pub(crate) fn new(
        connection: MultiplexedConnection,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { connection, driver: Arc::new(tokio::spawn(driver)), valid: None }
    }

    /// Tells it for how long its login counts.
    pub(crate) fn logged_in(self, valid: Valid) -> Self {
        Self { valid: Some(valid), ..self }
    }

    /// Whether the connection has ended already, as when the server closes those that were idle (`timeout`), or its
    /// credentials are about to expire. Nothing was sent then, so whoever has a call to make opens another connection,
    /// and has lost nothing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished() || self.valid.as_ref().is_some_and(Valid::is_over)
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
