//! A private server and a connection to it.

use redis::{Connection, FromRedisValue};
use redis_private_server::PrivateServer;

pub(crate) async fn server() -> PrivateServer {
    PrivateServer::builder().start().await.unwrap()
}

/// Runs a command given as words, and returns its answer.
pub(crate) fn ask<T: FromRedisValue>(server: &PrivateServer, words: &str) -> T {
    let words: Vec<_> = words.split(' ').collect();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connect(server)).unwrap()
}

/// A server that a test looks into, and adds helpers of its own to.
pub(crate) struct Redis {
    pub(crate) server: PrivateServer,
    pub(crate) connection: Connection,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::of(server().await)
    }

    pub(crate) fn of(server: PrivateServer) -> Self {
        let connection = connect(&server);
        Self { server, connection }
    }

    /// Runs a command, and returns its answer.
    pub(crate) fn ask<T: FromRedisValue>(&mut self, words: &[&str]) -> T {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut self.connection).unwrap()
    }

    /// The server ends without a word, as by a power failure, and comes back without its data.
    pub(crate) async fn restart(&mut self) {
        self.server.restart().await.unwrap();
        self.connection = connect(&self.server);
    }
}

fn connect(server: &PrivateServer) -> Connection {
    redis::Client::open(server.url()).unwrap().get_connection().unwrap()
}
