//! A private server for each test.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue};
use redis_private_server::{Builder, PrivateServer};
use tokio::net::TcpStream;

use crate::redis::fault::Fault;
use crate::redis::ids::Connect;
use crate::redis::link::Link;

/// A private server. Ends when dropped.
pub(super) struct Server(PrivateServer);

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(PrivateServer::builder()).await
    }

    /// The error text says how to install a server.
    pub(super) async fn start_with(builder: Builder) -> Self {
        Self(builder.start().await.unwrap_or_else(|error| panic!("{error}")))
    }

    pub(super) fn client(&self) -> Connector {
        Connector(redis::Client::open(self.0.url()).unwrap())
    }

    pub(super) fn client_of(&self, user: &str) -> Connector {
        Connector(redis::Client::open(format!("redis://{user}:secret@{}", self.0.addr())).unwrap())
    }

    pub(super) async fn connection(&self) -> MultiplexedConnection {
        self.client().connect().await.unwrap().into_connection()
    }

    /// Runs a command given as words.
    pub(super) async fn run<T: FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            command.arg(word);
        });
        command.query_async(&mut self.connection().await).await.unwrap()
    }

    pub(super) async fn ids(&self) -> Vec<String> {
        self.run("LRANGE consumer:ids 0 -1").await
    }

    pub(super) async fn keys(&self) -> Vec<String> {
        self.run("KEYS *").await
    }

    pub(super) fn freeze(&self) {
        self.0.freeze().unwrap();
    }

    pub(super) fn thaw(&self) {
        self.0.thaw().unwrap();
    }
}

#[derive(Debug, Clone)]
pub(super) struct Connector(redis::Client);

impl Connect for Connector {
    async fn connect(&mut self) -> Result<Link, Fault> {
        // Without limits, as in the library: callers have their own, and a busy machine must not fail a test.
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let info = self.0.get_connection_info();
        let socket = TcpStream::connect(info.addr().to_string()).await?;
        let opened = MultiplexedConnection::new_with_config(info.redis_settings(), socket, config).await;
        let (connection, driver) = opened.map_err(|error| Fault::Transient(error.to_string()))?;
        Ok(Link::new(connection, driver))
    }
}
