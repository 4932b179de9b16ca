//! The start of the tests (a server, a group with a witness, a load) and their end.

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use redis_consumer_group::{Builder, ConsumerGroup, JsonProcessor, Ledger};
use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep};

use crate::judge::{Witness, appended, judge};
use crate::load::{Load, Published};

pub(crate) use crate::support::{IDS, INPUT, OUTPUT};

/// A server with a group under load.
pub(crate) struct Fixture {
    pub(crate) server: PrivateServer,
    pub(crate) group: ConsumerGroup,
    pub(crate) witness: Witness,
    pub(crate) load: Load,
}

impl Fixture {
    /// A group of three consumers at this server, under a load of this many messages a second.
    pub(crate) async fn at(server: PrivateServer, a_second: u64) -> Self {
        Self::with(server, a_second, |builder| builder).await
    }

    /// The same with further settings.
    pub(crate) async fn with(
        server: PrivateServer,
        a_second: u64,
        set: impl FnOnce(Builder<JsonProcessor>) -> Builder<JsonProcessor>,
    ) -> Self {
        let witness = Witness::default();
        let builder = set(ConsumerGroup::builder(server.url()));
        let group = witness.beside(builder).start().await.unwrap();
        let load = Load::start(server.addr(), INPUT, a_second);
        let fixture = Self { server, group, witness, load };
        fixture.goes_on().await;
        fixture
    }

    pub(crate) async fn redis(&self) -> MultiplexedConnection {
        connect(&self.server.url()).await
    }

    /// Waits until a few hundred of the messages published from now on are processed.
    pub(crate) async fn goes_on(&self) {
        let before = self.group.ledger();
        eventually("the group processes messages", async || {
            let now = self.group.ledger();
            now.processed >= before.processed + before.in_flight() + 200
        })
        .await;
    }

    /// Stops load and group, and judges the output.
    pub(crate) async fn end(self) -> (PrivateServer, Ledger) {
        let Self { server, group, witness, load } = self;
        let published = load.stop().await;
        let ledger = group.shutdown().await.unwrap();
        judge_at(&server, &published, &witness, &ledger).await;
        (server, ledger)
    }
}

pub(crate) async fn judge_at(
    server: &PrivateServer,
    published: &Published,
    witness: &Witness,
    ledger: &Ledger,
) {
    let mut redis = connect(&server.url()).await;
    judge(published, witness, &appended(&mut redis, OUTPUT).await, ledger);
    assert_nothing_left_behind(&mut redis).await;
}

/// Checks that a clean stop leaves only the streams.
async fn assert_nothing_left_behind(redis: &mut MultiplexedConnection) {
    let keys: Vec<String> = redis::cmd("KEYS").arg("*consumer:ids*").query_async(redis).await.unwrap();
    assert_eq!(keys, [""; 0], "of the ids");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*lane:*").query_async(redis).await.unwrap();
    assert_eq!(keys, [""; 0], "of the lanes");
}

/// Opens a connection without timeouts.
pub(crate) async fn connect(url: &str) -> MultiplexedConnection {
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// Sends a command, written as in a terminal.
pub(crate) async fn order(redis: &mut MultiplexedConnection, command: &str) -> redis::Value {
    try_order(redis, command).await.unwrap_or_else(|error| panic!("{command}: {error}"))
}

pub(crate) async fn try_order(
    redis: &mut MultiplexedConnection,
    command: &str,
) -> redis::RedisResult<redis::Value> {
    crate::support::command(command).query_async(redis).await
}

/// Waits until the condition holds, for at most 30 s.
#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    within(Duration::from_secs(30), what, condition)
}

/// Waits until the condition holds. Fails the test if that takes longer than `limit`.
#[track_caller]
pub(crate) fn within(
    limit: Duration,
    what: &str,
    mut condition: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    let (caller, deadline) = (std::panic::Location::caller(), Instant::now() + limit);
    async move {
        while !condition().await {
            assert!(Instant::now() < deadline, "not within {limit:?}: {what} ({caller})");
            sleep(Duration::from_millis(5)).await;
        }
    }
}
