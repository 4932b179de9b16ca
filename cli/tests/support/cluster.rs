//! A private cluster of three primaries, and the program connected to it.

use std::process::Command;
use std::time::Duration;

use redis::FromRedisValue;
use redis_private_server::{Builder, PrivateCluster, PrivateServer};
use tokio::time::{Instant, sleep};

use super::{Running, Said, program, run};

pub(crate) struct Cluster(pub(crate) PrivateCluster);

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(PrivateServer::builder).await
    }

    pub(crate) async fn start_with(node: impl Fn() -> Builder) -> Self {
        Self::start_as(PrivateCluster::start(node, 3, 0, Duration::from_secs(2))).await
    }

    /// A cluster in which node `3 + n` is the replica of node `n`.
    pub(crate) async fn with_replicas(node_timeout: Duration) -> Self {
        Self::start_as(PrivateCluster::start(PrivateServer::builder, 3, 1, node_timeout)).await
    }

    async fn start_as(
        starting: impl Future<Output = Result<PrivateCluster, redis_private_server::Error>>,
    ) -> Self {
        match starting.await {
            Ok(cluster) => Self(cluster),
            Err(error) => panic!("{error}"),
        }
    }

    /// The program with the URL of the first node.
    pub(crate) fn program(&self, args: &[&str]) -> Command {
        let mut program = program(args);
        program.env("RCG_URL", self.0.url());
        program
    }

    /// Runs a group of this many shards on sharded channels, with one consumer each.
    pub(crate) fn group(&self, shards: u32, options: &[&str]) -> Running {
        let count = shards.to_string();
        let run = ["run", "--source", "sharded", "--shards", &count, "--consumers", "1"];
        Running::start(self.program(&run).args(options))
    }

    /// Publishes this many messages to this many shards.
    pub(crate) fn publish(&self, messages: u64, shards: u32, options: &[&str]) -> Said {
        let (messages, shards) = (messages.to_string(), shards.to_string());
        let publish = ["load", "--count", &messages, "--shards", &shards];
        run(self.program(&publish).args(options))
    }

    /// The first successful reply among those of all nodes.
    pub(crate) fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let answers = (0..3).map(|node| self.at(node, words));
        answers
            .reduce(|answer, next| answer.or(next))
            .unwrap()
            .unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) fn at<T: FromRedisValue>(&self, node: usize, words: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.0.nodes()[node].url())?;
        redis::cmd(words[0]).arg(&words[1..]).query(&mut client.get_connection()?)
    }

    /// How many messages this node has published to sharded channels.
    pub(crate) fn published_by(&self, node: usize) -> u64 {
        calls(&self.0.nodes()[node], "spublish")
    }

    /// The `message_id`s in a stream.
    pub(crate) fn ids_in(&self, stream: &str) -> Vec<String> {
        let entries: Vec<(String, Vec<(String, String)>)> = self.ask(&["XRANGE", stream, "-", "+"]);
        let id = |fields: Vec<(String, String)>| fields.into_iter().find(|(name, _)| name == "message_id");
        entries.into_iter().map(|(_, fields)| id(fields).unwrap().1).collect()
    }
}

/// How often a server has executed this command. Refused calls are not counted.
pub(crate) fn calls(server: &PrivateServer, command: &str) -> u64 {
    let client = redis::Client::open(server.unix_url()).unwrap();
    let stats = redis::cmd("INFO").arg("commandstats").query::<String>(&mut client.get_connection().unwrap());
    let stats = stats.unwrap();
    let count = stats.split(&format!("cmdstat_{command}:calls=")).nth(1);
    count.map_or(0, |rest| rest.split(',').next().unwrap().parse::<u64>().unwrap())
}

/// Waits until `holds` returns true. Panics after `limit`.
pub(crate) async fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < until, "never came true: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}
