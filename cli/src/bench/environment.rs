//! The server that is measured: commands to it, its CPU usage, and the removal of all keys afterwards.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, bail};
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, InfoDict, RedisError, ServerErrorKind, cmd};
use redis_consumer_group::client::connect;
use redis_consumer_group::{Address, Error, Tls};
use redis_private_server::PrivateServer;
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::report;
use super::role::protocol::{Endpoint, IDS, INPUT, OUTPUT, REJECTED, SPILL};

/// The server, with a connection for everything except messages.
pub(crate) struct Environment {
    pub(crate) endpoint: Endpoint,
    address: Address,
    version: String,
    connection: MultiplexedConnection,
    /// The default output buffer limit of a private server.
    own_limit: Option<String>,
    /// The process of a private server, which ends when this is dropped.
    server: Option<PrivateServer>,
}

/// The CPU that the server has used since its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Of all threads, in seconds.
    cpu: f64,
    /// Of the thread that executes commands, in seconds.
    main: f64,
}

/// The CPU that the server used between two times.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// Of all threads, in µs.
    pub(crate) cpu_us: f64,
    /// Of the thread that executes commands, in seconds.
    main: f64,
}

impl Environment {
    /// A server that is already running.
    ///
    /// # Errors
    /// If it cannot be reached, or refuses the login.
    pub(crate) async fn given(address: Address, tls: &Tls) -> anyhow::Result<Self> {
        let connection = connect(&address, tls).await?;
        let endpoint = Endpoint::new(&address, tls).await?;
        let mut environment =
            Self { endpoint, address, connection, version: String::new(), own_limit: None, server: None };
        let info = environment.info("server").await?;
        let value = |name: &str| info.get::<String>(name);
        environment.version = match value("valkey_version") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", value("redis_version").unwrap_or_default()),
        };
        Ok(environment)
    }

    /// A private server.
    ///
    /// # Errors
    /// If none is installed, or it does not start.
    pub(crate) async fn private() -> anyhow::Result<Self> {
        let server = PrivateServer::builder().start().await?;
        let mut environment = Self::given(server.url().parse()?, &Tls::default()).await?;
        environment.server = Some(server);
        let (_, limit): (String, String) = environment.ask(cmd("CONFIG").arg("GET").arg(LIMIT)).await?;
        environment.own_limit = Some(limit);
        environment.lift_limit().await?;
        Ok(environment)
    }

    pub(crate) fn is_private(&self) -> bool {
        self.server.is_some()
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    pub(crate) fn described(&self) -> report::Server {
        report::Server {
            address: self.address.to_string(),
            version: self.version.clone(),
            private: self.is_private(),
        }
    }

    /// Removes the output buffer limit of a private server, so that slow subscribers stay connected and their speed is
    /// measured. A given server keeps its limits.
    pub(crate) async fn lift_limit(&mut self) -> anyhow::Result<()> {
        self.set_limit(self.own_limit.as_ref().map(|_| "pubsub 0 0 0".to_owned())).await
    }

    /// Restores the default limit of a private server.
    pub(crate) async fn restore_limit(&mut self) -> anyhow::Result<()> {
        self.set_limit(self.own_limit.clone()).await
    }

    pub(crate) async fn usage(&mut self) -> anyhow::Result<Usage> {
        let info = self.info("cpu").await?;
        let sum = |names: [&str; 2]| names.into_iter().map(|name| info.get::<f64>(name)).sum::<Option<f64>>();
        let cpu = sum(["used_cpu_user", "used_cpu_sys"])
            .context("the server does not report its CPU (INFO cpu)")?;
        let main = sum(["used_cpu_user_main_thread", "used_cpu_sys_main_thread"]).unwrap_or(cpu);
        Ok(Usage { cpu, main })
    }

    /// A section of INFO.
    pub(crate) async fn info(&mut self, section: &str) -> anyhow::Result<InfoDict> {
        self.ask(cmd("INFO").arg(section)).await
    }

    /// Sends one command.
    ///
    /// # Errors
    /// The server's error, explained.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> anyhow::Result<T> {
        /// A server that frees much memory may be slow.
        const TIMEOUT: Duration = Duration::from_secs(30);
        match timeout(TIMEOUT, command.query_async(&mut self.connection)).await {
            Ok(answer) => answer.map_err(|error| self.explained(command, &error).into()),
            Err(_) => bail!(Error::Unreachable {
                address: self.address.to_string(),
                cause: format!("no reply for {TIMEOUT:?}"),
                try_next: "check the server's log: it seems to hang".to_owned(),
            }),
        }
    }

    /// Removes the keys of a run, and waits until the server has freed the memory, which would slow down the next run.
    pub(crate) async fn clear(&mut self) -> anyhow::Result<()> {
        const LIMIT: Duration = Duration::from_secs(20);
        self.ask::<u64>(cmd("UNLINK").arg(KEYS)).await?;
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let pending = self.info("memory").await?.get::<u64>("lazyfree_pending_objects");
            if pending.unwrap_or(0) == 0 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Removes all keys, including those that commands in flight of an ended process still create.
    pub(crate) async fn leave(&mut self) -> anyhow::Result<()> {
        const QUIET: Duration = Duration::from_millis(50);
        const ATTEMPTS: u32 = 20;
        self.remove_dead_groups().await?;
        for _ in 0..ATTEMPTS {
            self.clear().await?;
            sleep(QUIET).await;
            if self.ask::<u64>(cmd("EXISTS").arg(KEYS)).await? == 0 {
                return Ok(());
            }
        }
        bail!(
            "another client writes to the keys of the bench: {} may be left at {}",
            KEYS.join(" or "),
            self.address
        )
    }

    /// Removes the keys of lanes and leases that killed groups have left.
    async fn remove_dead_groups(&mut self) -> anyhow::Result<()> {
        // A user without the permission cannot have created them either.
        let Ok(processes) = self.ask::<HashMap<String, String>>(cmd("HGETALL").arg(PROCESSES)).await else {
            return Ok(());
        };
        for (process, about) in processes {
            let about: Value = serde_json::from_str(&about).unwrap_or_default();
            let lanes = about["lanes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut keys: Vec<_> =
                lanes.filter(|lane| lane.starts_with("{bench:")).map(str::to_owned).collect();
            keys.push(format!("{{bench:ids}}:lease:{process}"));
            self.ask::<u64>(cmd("UNLINK").arg(keys)).await?;
        }
        self.remove_tokens().await
    }

    /// Removes the fencing tokens of such groups.
    async fn remove_tokens(&mut self) -> anyhow::Result<()> {
        for (leases, token) in READERS {
            let readers: Vec<String> = self.ask(cmd("ZRANGE").arg(leases).arg(0).arg(-1)).await?;
            for reader in readers {
                self.ask::<u64>(cmd("UNLINK").arg(format!("{token}{reader}"))).await?;
            }
        }
        Ok(())
    }

    async fn set_limit(&mut self, limit: Option<String>) -> anyhow::Result<()> {
        match limit {
            Some(limit) => self.ask(cmd("CONFIG").arg("SET").arg(LIMIT).arg(limit)).await,
            None => Ok(()),
        }
    }

    fn explained(&self, command: &redis::Cmd, error: &RedisError) -> Error {
        let address = self.address.to_string();
        let name = command.args_iter().find_map(|argument| match argument {
            redis::Arg::Simple(name) => Some(String::from_utf8_lossy(name).into_owned()),
            _ => None,
        });
        let name = name.unwrap_or_default();
        let answer = match (error.code(), error.detail()) {
            (Some(code), Some(detail)) => format!("{code} {detail}"),
            _ => error.to_string(),
        };
        match error.kind() {
            ErrorKind::Server(ServerErrorKind::NoPerm) => Error::Refused {
                address,
                try_next: format!(
                    "the bench needs +{} and all that a group needs, for ~bench:* ~{{bench:*}}:* &bench:*",
                    name.to_lowercase()
                ),
                what: name,
                answer,
            },
            _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) => Error::Refused {
                address,
                try_next: "give user and password in the URL, or --password-file".to_owned(),
                what: name,
                answer,
            },
            ErrorKind::Io => Error::Unreachable {
                address,
                cause: error.to_string(),
                try_next: "check that the server is still running; if not, its log says why".to_owned(),
            },
            _ => Error::Protocol {
                address,
                what: "a command of the bench",
                answer: format!("{name}: {answer}"),
            },
        }
    }
}

impl Usage {
    /// Up to a later time.
    pub(crate) fn until(&self, later: &Self) -> Used {
        Used { cpu_us: (later.cpu - self.cpu) * 1e6, main: later.main - self.main }
    }
}

impl Used {
    /// The share of this time in which the main thread was busy: 0 to 1.
    pub(crate) fn busy(&self, seconds: f64) -> f64 {
        (self.main / seconds).clamp(0.0, 1.0)
    }

    /// The sum of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { cpu_us: self.cpu_us + other.cpu_us, main: self.main + other.main }
    }
}

/// All keys that a run may leave, except those that [`PROCESSES`] and [`READERS`] list.
pub(crate) const KEYS: &[&str] = &[
    INPUT,
    OUTPUT,
    REJECTED,
    IDS,
    SPILL,
    "{bench:ids}:leases",
    PROCESSES,
    "{bench:published}:leases:processors",
    "{bench:processed}:spill::leases:processors",
];
/// The readers of each stream, and the prefix of their tokens.
const READERS: [(&str, &str); 2] = [
    ("{bench:published}:leases:processors", "{bench:published}:token:"),
    ("{bench:processed}:spill::leases:processors", "{bench:processed}:spill::token:"),
];
/// The descriptions of the groups' processes, by their id. Those of killed processes stay.
const PROCESSES: &str = "{bench:ids}:processes";

const LIMIT: &str = "client-output-buffer-limit";
