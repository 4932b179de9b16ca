//! A connection of the client crate that is kept between calls.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinHandle;

use super::login::Valid;

/// The connection, and whether it is still open. Its task ends when the last clone of the connection is dropped.
#[derive(Debug, Clone)]
pub struct Link {
    connection: MultiplexedConnection,
    driver: Arc<JoinHandle<()>>,
    /// Whether its login is still current. `None`: forever.
    valid: Option<Valid>,
}

impl Link {
    /// Spawns the task that drives the connection.
    pub(crate) fn new(
        connection: MultiplexedConnection,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        Self { connection, driver: Arc::new(tokio::spawn(driver)), valid: None }
    }

    /// Sets how long its login counts.
    pub(crate) fn logged_in(self, valid: Valid) -> Self {
        Self { valid: Some(valid), ..self }
    }

    /// Whether the connection has ended, for example because the server closed it while idle (`timeout`), or because
    /// newer credentials replaced its own. The caller has sent nothing yet, so it opens another connection and repeats
    /// nothing.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.driver.is_finished() || self.valid.as_ref().is_some_and(Valid::is_over)
    }

    /// The connection without its state.
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
