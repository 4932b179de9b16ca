//! The start of the tests: a primary, its replica, and three sentinels that watch them.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, cmd};
use redis_consumer_group::{Builder, ConsumerGroup, JsonProcessor};
use redis_private_server::{PrivateSentinels, PrivateServer};

use crate::support::{LIMIT, command, entries, eventually};

/// Sentinels normally check each other and the servers every ten seconds, and decide by that. After they were suspended
/// themselves, they declare no server dead for half a minute.
pub(crate) const LONG: Duration = Duration::from_secs(90);

pub(crate) const SERVICE: &str = "mymaster";

/// The servers and their sentinels, with methods to inspect their data.
pub(crate) struct Service {
    /// First the initial primary, then its replica.
    pub(crate) nodes: Vec<PrivateServer>,
    pub(crate) sentinels: PrivateSentinels,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(PrivateServer::builder, PrivateServer::builder).await
    }

    /// Calls `node` once per server, and `sentinel` once per sentinel.
    pub(crate) async fn start_with(
        node: impl Fn() -> redis_private_server::Builder,
        sentinel: impl Fn() -> redis_private_server::Builder,
    ) -> Self {
        let primary = node().arg("repl-diskless-sync-delay", 0).start().await;
        let primary = primary.unwrap_or_else(|error| panic!("{error}"));
        let replica = node().arg("replicaof", format!("127.0.0.1 {}", primary.port())).start().await.unwrap();
        let sentinels = PrivateSentinels::start(sentinel, 3, SERVICE, &primary, 1).await;
        let sentinels = sentinels.unwrap_or_else(|error| panic!("{error}"));
        let service = Self { nodes: vec![primary, replica], sentinels };
        eventually(LIMIT, "the replica has what the primary has", async || {
            service.run::<String>(1, "INFO replication").await.contains("master_link_status:up")
        })
        .await;
        service
    }

    /// The address of the service, without passwords.
    pub(crate) fn url(&self) -> String {
        // `redis` or `rediss`.
        let url = self.nodes[0].url();
        let (scheme, _) = url.split_once(':').unwrap();
        format!("{scheme}+sentinel://{}/{SERVICE}", self.sentinels.addrs())
    }

    /// A builder for a group at the service.
    pub(crate) fn group(&self) -> Builder<JsonProcessor> {
        ConsumerGroup::builder(self.url()).lease(Duration::from_secs(2))
    }

    /// The Unix sockets of the servers.
    pub(crate) fn sockets(&self) -> Vec<String> {
        self.nodes.iter().map(PrivateServer::unix_url).collect()
    }

    /// A connection to one server.
    pub(crate) async fn connection(&self, node: usize) -> MultiplexedConnection {
        connection(&self.nodes[node].unix_url()).await.unwrap()
    }

    /// Runs a command given as words at one server. Repeats it if the server disconnects us: a server that becomes a
    /// replica does that to all its clients.
    pub(crate) async fn run<T: FromRedisValue>(&self, node: usize, words: &str) -> T {
        let command = command(words);
        let url = self.nodes[node].unix_url();
        let mut last = None;
        for _ in 0..10 {
            let asking = async { command.query_async(&mut connection(&url).await?).await };
            match asking.await {
                Ok(answer) => return answer,
                Err(error) if error.is_io_error() => last = Some(error),
                Err(error) => panic!("{words}: {error}"),
            }
        }
        panic!("{words}: {last:?}");
    }

    /// Waits until all sentinels name this server as the primary.
    pub(crate) async fn has_primary(&self, node: usize) {
        let port = self.nodes[node].port();
        eventually(LONG, "the sentinels agree on the primary", async || {
            for sentinel in 0..self.sentinels.sentinels().len() {
                if self.sentinels.primary(sentinel).await.unwrap() != port {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Makes the sentinels declare no server dead from now on; on a busy machine they soon do.
    pub(crate) async fn keeps_its_primary(&self) {
        self.is_replaced_after(Duration::from_secs(60)).await;
    }

    /// Makes the sentinels replace a primary that is silent for this long.
    pub(crate) async fn is_replaced_after(&self, silence: Duration) {
        for sentinel in self.sentinels.sentinels() {
            let mut command = cmd("SENTINEL");
            command.arg("SET").arg(SERVICE).arg("down-after-milliseconds").arg(silence.as_millis() as u64);
            command.exec_async(&mut connection(&sentinel.unix_url()).await.unwrap()).await.unwrap();
        }
    }

    /// The `message_id`s in a stream, in order.
    pub(crate) async fn ids_in(&self, node: usize, stream: &str) -> Vec<String> {
        let entries = entries(&mut self.connection(node).await, stream).await;
        entries.iter().map(|entry| entry.text("message_id").unwrap().to_owned()).collect()
    }

    /// The connections of groups at one server, one line of `CLIENT LIST` each.
    pub(crate) async fn connections_of_groups(&self, node: usize) -> Vec<String> {
        let list: String = self.run(node, "CLIENT LIST").await;
        list.lines().filter(|line| line.contains("redis-consumer-group")).map(str::to_owned).collect()
    }
}

impl Drop for Service {
    /// Prints the logs of the sentinels if the test failed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for sentinel in self.sentinels.sentinels() {
            let log = std::fs::read_to_string(sentinel.folder().join("server.log")).unwrap_or_default();
            let told: Vec<_> =
                log.lines().filter(|line| line.contains(" # ") || line.contains("+")).collect();
            println!("the sentinel {}:\n{}", sentinel.addr(), told.join("\n"));
        }
        println!("the servers: {:?}", self.nodes);
    }
}

/// Opens a connection that waits long for answers, because sentinels write to the disk before they answer.
pub(crate) async fn connection(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(LIMIT));
    redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await
}
