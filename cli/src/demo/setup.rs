//! The private server of a demo, and the load that is published there.

use std::future::Future;
use std::time::Duration;

use anyhow::bail;
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use redis_consumer_group::client::connect;
use redis_consumer_group::{Config, Error};
use redis_private_server::PrivateServer;
use tokio::time::{Instant, Interval, interval, interval_at};
use uuid::Uuid;

use crate::load::{Pace, Payload, Plan, Rate, generate};
use crate::publisher::{Connections, Progress, Target, explain};
use crate::stdout::Stdout;
use crate::stop::Stop;
use crate::talk::say;

/// Messages a second.
pub(super) const RATE: u32 = 2000;
/// Consumers of each process, or of each shard.
pub(super) const CONSUMERS: usize = 3;

/// The private server of a demo, and its options.
pub(super) struct Setup<'a> {
    pub(super) server: PrivateServer,
    /// The default configuration, with that server.
    pub(super) config: Config,
    /// For counting.
    pub(super) connection: MultiplexedConnection,
    pub(super) duration: Duration,
    pub(super) stop: &'a Stop,
    pub(super) stdout: &'a Stdout,
}

/// Starts the private server. `None` after a signal.
pub(super) async fn start<'a>(
    duration: Duration,
    stop: &'a Stop,
    stdout: &'a Stdout,
) -> anyhow::Result<Option<Setup<'a>>> {
    say("Starting a private server …");
    let Some(server) = unless_stopped(stop, PrivateServer::builder().start()).await else { return Ok(None) };
    let server = server?;
    say(format_args!("{} ({}) runs at {}.", server.version(), server.binary().display(), server.addr()));

    let mut config = Config::default();
    config.address = server.url().parse()?;
    config.consumers = CONSUMERS;
    let Some(connection) = unless_stopped(stop, connect(&config.address, &config.tls)).await else {
        return Ok(None);
    };
    Ok(Some(Setup { server, config, connection: connection?, duration, stop, stdout }))
}

impl Setup<'_> {
    /// Prints what will be published.
    pub(super) fn announce_load(&self) {
        let duration = self.duration;
        say(format_args!(
            "Publishing {RATE} messages per second for {duration:?}. Press Ctrl-C to stop earlier.\n"
        ));
    }

    /// Publishes at the even rate for as long as the demo lasts.
    pub(super) async fn publish_evenly(&self, to: Target, sent: impl FnMut(Uuid)) -> anyhow::Result<()> {
        let (pace, duration) = (Pace::Even(Rate::from(RATE)), Some(self.duration));
        self.publish(&plan(to, pace, None, duration), sent).await
    }

    /// Publishes this number of messages at full speed.
    pub(super) async fn publish_at_once(
        &self,
        to: Target,
        messages: u64,
        sent: impl FnMut(Uuid),
    ) -> anyhow::Result<()> {
        let pace = Pace::Bursts { batch: messages, pause: Duration::ZERO..=Duration::ZERO };
        self.publish(&plan(to, pace, Some(messages), None), sent).await
    }

    /// The times for reports.
    pub(super) fn reports(&self) -> Interval {
        reports(self.duration)
    }

    async fn publish(&self, plan: &Plan, sent: impl FnMut(Uuid)) -> anyhow::Result<()> {
        let progress = Progress::hidden();
        let publishing = async {
            let connections = Connections::open(&self.config.address, &self.config.tls, &plan.target).await?;
            anyhow::Ok(generate(connections, plan, self.stop, &progress, sent).await)
        };
        let published = tokio::select! {
            published = publishing => published?,
            error = self.server_ended() => return Err(error.into()),
        };
        let unknown = published.summary.unconfirmed + published.summary.not_published;
        match published.failure {
            Some(failure) => Err(explain(&self.config.address.to_string(), &plan.target, failure)),
            None if unknown > 0 => {
                bail!("the server did not answer {unknown} messages; try again when the machine is less busy")
            }
            None => Ok(()),
        }
    }

    /// Waits until the private server has ended. The publisher would wait for it, but nobody starts it again.
    async fn server_ended(&self) -> Error {
        let (mut connection, mut looks) = (self.connection.clone(), interval(Duration::from_millis(100)));
        loop {
            looks.tick().await;
            if let Err(error) = redis::cmd("PING").exec_async(&mut connection).await {
                return self.unreachable(&error);
            }
        }
    }

    /// What it means that the private server does not answer.
    pub(super) fn unreachable(&self, error: &RedisError) -> Error {
        Error::Unreachable {
            address: self.config.address.to_string(),
            cause: error.to_string(),
            try_next: "the demo's own server has ended; look for the reason in the system log".to_owned(),
        }
    }
}

/// The command line client of a server, by the name in its version.
pub(super) fn client(version: &str) -> &'static str {
    if version.starts_with("Valkey ") { "valkey-cli" } else { "redis-cli" }
}

/// As often as `run` reports, but more often in a short demo.
pub(super) fn reports(duration: Duration) -> Interval {
    let every = (duration / 6).clamp(Duration::from_secs(1), Duration::from_secs(3));
    interval_at(Instant::now() + every, every)
}

/// The result of the future, or `None` if a signal comes first.
pub(super) async fn unless_stopped<T>(stop: &Stop, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop.asked() => None,
        done = work => Some(done),
    }
}

pub(super) fn plan(target: Target, pace: Pace, count: Option<u64>, duration: Option<Duration>) -> Plan {
    Plan { target, payload_bytes: Payload::SHORTEST, pace, count, duration }
}
