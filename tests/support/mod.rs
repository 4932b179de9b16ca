//! Helpers of the library's tests: a private server, messages, and a judge that checks the output.
#![allow(dead_code, unused_imports, reason = "each file of tests uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

pub(crate) mod acl;
mod judge;

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, FromRedisValue, cmd, pipe};
use redis_consumer_group::{Builder, ConsumerGroup, JsonProcessor};
use redis_private_server::PrivateServer;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

pub(crate) use self::judge::judge;

pub(crate) const INPUT: &str = "messages:published";
pub(crate) const OUTPUT: &str = "messages:processed";
pub(crate) const REJECTED: &str = "messages:rejected";
pub(crate) const IDS: &str = "consumer:ids";

/// A limit for waiting on a busy machine. Normally a condition holds much sooner.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// A private server with methods to inspect its data. It ends when this is dropped.
///
/// The tests use its Unix socket, which never has TLS; so all TCP connections belong to groups.
pub(crate) struct Server {
    server: PrivateServer,
}

/// One entry of a stream: its id, and its fields in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
}

impl Server {
    /// Starts a server with the defaults.
    pub(crate) async fn start() -> Self {
        Self::start_with(PrivateServer::builder()).await
    }

    /// Starts a server. The error that fails the test says how to install a server.
    pub(crate) async fn start_with(builder: redis_private_server::Builder) -> Self {
        match builder.start().await {
            Ok(server) => Self { server },
            Err(error) => panic!("{error}"),
        }
    }

    /// A builder for a group at this server.
    pub(crate) fn group(&self) -> Builder<JsonProcessor> {
        ConsumerGroup::builder(self.url())
    }

    /// Opens a new connection, which waits for answers without a limit.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.unix_url()).unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Runs a command given as words. An error fails the test.
    pub(crate) async fn run<T: FromRedisValue>(&self, words: &str) -> T {
        match command(words).query_async(&mut self.connection().await).await {
            Ok(answer) => answer,
            Err(error) => panic!("{words}: {error}"),
        }
    }

    /// Publishes `count` messages of the usual form, each with its own id, and returns their ids in order.
    ///
    /// On return, the server has put all of them into its subscribers' buffers.
    pub(crate) async fn publish(&self, count: usize) -> Vec<String> {
        publish_on(&mut self.connection().await, INPUT, count).await
    }

    /// Publishes one payload unchanged, and checks that it reached a subscriber.
    pub(crate) async fn publish_payload(&self, payload: impl AsRef<[u8]>) {
        let heard: u64 = cmd("PUBLISH")
            .arg(INPUT)
            .arg(payload.as_ref())
            .query_async(&mut self.connection().await)
            .await
            .unwrap();
        assert_ne!(heard, 0, "nobody is subscribed to {INPUT}");
    }

    /// All entries of a stream.
    pub(crate) async fn entries(&self, stream: &str) -> Vec<Entry> {
        entries(&mut self.connection().await, stream).await
    }

    pub(crate) async fn output(&self) -> Vec<Entry> {
        self.entries(OUTPUT).await
    }

    pub(crate) async fn rejected(&self) -> Vec<Entry> {
        self.entries(REJECTED).await
    }

    /// The number of entries of the stream.
    pub(crate) async fn length(&self, stream: &str) -> usize {
        self.run(&format!("XLEN {stream}")).await
    }

    /// The list of the consumers' ids.
    pub(crate) async fn ids(&self) -> Vec<String> {
        self.run(&format!("LRANGE {IDS} 0 -1")).await
    }

    /// Every key, sorted.
    pub(crate) async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.run("KEYS *").await;
        keys.sort();
        keys
    }

    /// The connections of groups, one line of `CLIENT LIST` each.
    pub(crate) async fn connections_of_groups(&self) -> Vec<String> {
        let list: String = self.run("CLIENT LIST").await;
        // The tests' own connections use the socket.
        list.lines().filter(|line| line.contains(" addr=127.0.0.1:")).map(str::to_owned).collect()
    }
}

impl Deref for Server {
    type Target = PrivateServer;

    fn deref(&self) -> &PrivateServer {
        &self.server
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut PrivateServer {
        &mut self.server
    }
}

impl Entry {
    /// The value of a field as text; `None` if the entry does not have the field.
    pub(crate) fn text(&self, field: &str) -> Option<&str> {
        self.bytes(field).map(|value| std::str::from_utf8(value).unwrap())
    }

    /// The value of a field.
    pub(crate) fn bytes(&self, field: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_slice())
    }
}

/// A command given as words.
pub(crate) fn command(words: &str) -> redis::Cmd {
    let words: Vec<_> = words.split(' ').collect();
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// All entries of a stream, read in pages.
pub(crate) async fn entries(connection: &mut MultiplexedConnection, stream: &str) -> Vec<Entry> {
    const PAGE: usize = 10_000;
    type Page = Vec<(String, Vec<(String, Vec<u8>)>)>;
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let from = entries.last().map_or_else(|| "-".to_owned(), |last| format!("({}", last.id));
        let mut range = cmd("XRANGE");
        range.arg(stream).arg(from).arg("+").arg("COUNT").arg(PAGE);
        let page: Page = range.query_async(connection).await.unwrap();
        let last = page.len() < PAGE;
        entries.extend(page.into_iter().map(|(id, fields)| Entry { id, fields }));
        if last {
            return entries;
        }
    }
}

/// Publishes `count` messages to `channel` in pipelines, and returns their ids in order.
pub(crate) async fn publish_on(
    connection: &mut MultiplexedConnection,
    channel: &str,
    count: usize,
) -> Vec<String> {
    let ids: Vec<String> = (0..count).map(|_| Uuid::new_v4().to_string()).collect();
    for chunk in ids.chunks(1000) {
        let mut pipeline = pipe();
        for id in chunk {
            pipeline.cmd("PUBLISH").arg(channel).arg(payload(id)).ignore();
        }
        pipeline.exec_async(connection).await.unwrap();
    }
    ids
}

/// A message of the usual form.
pub(crate) fn payload(id: &str) -> String {
    format!(r#"{{"message_id":"{id}"}}"#)
}

/// Waits until the outcome of this many messages is known.
pub(crate) async fn settled(group: &ConsumerGroup, messages: usize) {
    eventually(LIMIT, &format!("{messages} messages are settled"), async || {
        let ledger = group.ledger();
        ledger.received >= messages as u64 && ledger.in_flight() == 0
    })
    .await;
}

/// Waits until this many messages were received.
pub(crate) async fn received(group: &ConsumerGroup, messages: usize) {
    let what = format!("{messages} messages are received");
    eventually(LIMIT, &what, async || group.ledger().received >= messages as u64).await;
}

/// The ids of a group's consumers, in order.
pub(crate) fn ids_of(group: &ConsumerGroup) -> Vec<String> {
    group.handle().consumers().iter().map(|consumer| consumer.id().to_owned()).collect()
}

/// Waits until the condition holds. Fails the test if that takes longer than `limit`.
pub(crate) async fn eventually(limit: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
