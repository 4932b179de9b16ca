//! The server under test: what the bench asks of it, and what it leaves there, which is nothing.

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

use super::part::protocol::{IDS, INPUT, OUTPUT, Place, REJECTED, SPILL};
use super::report;

/// The server, and a connection to it for everything but messages.
pub(crate) struct Environment {
    pub(crate) place: Place,
    address: Address,
    version: String,
    connection: MultiplexedConnection,
    /// Whose limit of the buffer for subscribers is as the server has it by itself.
    own_limit: Option<String>,
    /// The server itself, if it is ours: gone when this is dropped.
    server: Option<PrivateServer>,
}

/// What the server has used of its CPU by a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Seconds of all threads.
    cpu: f64,
    /// Seconds of the thread that executes commands.
    main: f64,
}

/// Between two moments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// µs of all threads.
    pub(crate) cpu_us: f64,
    /// Seconds of the thread that executes commands.
    main: f64,
}

impl Environment {
    /// A server that is there already.
    ///
    /// # Errors
    /// When it cannot be reached, or refuses the login.
    pub(crate) async fn given(address: Address, tls: &Tls) -> anyhow::Result<Self> {
        let connection = connect(&address, tls).await?;
        let place = Place::new(&address, tls).await?;
        let mut environment =
            Self { place, address, connection, version: String::new(), own_limit: None, server: None };
        let info = environment.info("server").await?;
        let value = |name: &str| info.get::<String>(name);
        environment.version = match value("valkey_version") {
            Some(version) => format!("Valkey {version}"),
            None => format!("Redis {}", value("redis_version").unwrap_or_default()),
        };
        Ok(environment)
    }

    /// A server of our own.
    ///
    /// # Errors
    /// When there is none on this machine, or it does not start.
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

    /// Lets a subscriber of our own server be as slow as it is: what it can do is to be measured, and not when
    /// it is cut off. Another's server keeps its limits.
    pub(crate) async fn lift_limit(&mut self) -> anyhow::Result<()> {
        self.set_limit(self.own_limit.as_ref().map(|_| "pubsub 0 0 0".to_owned())).await
    }

    /// Puts the server's own limits back.
    pub(crate) async fn restore_limit(&mut self) -> anyhow::Result<()> {
        self.set_limit(self.own_limit.clone()).await
    }

    pub(crate) async fn usage(&mut self) -> anyhow::Result<Usage> {
        let info = self.info("cpu").await?;
        let sum = |names: [&str; 2]| names.into_iter().map(|name| info.get::<f64>(name)).sum::<Option<f64>>();
        let cpu =
            sum(["used_cpu_user", "used_cpu_sys"]).context("the server does not tell its CPU (INFO cpu)")?;
        let main = sum(["used_cpu_user_main_thread", "used_cpu_sys_main_thread"]).unwrap_or(cpu);
        Ok(Usage { cpu, main })
    }

    /// A part of what the server tells of itself.
    pub(crate) async fn info(&mut self, section: &str) -> anyhow::Result<InfoDict> {
        self.ask(cmd("INFO").arg(section)).await
    }

    /// One command.
    ///
    /// # Errors
    /// What the server answered, in the words of the program.
    pub(crate) async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> anyhow::Result<T> {
        /// A server that is freeing or loading much may take a while.
        const TIMEOUT: Duration = Duration::from_secs(30);
        match timeout(TIMEOUT, command.query_async(&mut self.connection)).await {
            Ok(answer) => answer.map_err(|error| self.explained(command, &error).into()),
            Err(_) => bail!(Error::Unreachable {
                address: self.address.to_string(),
                cause: format!("no answer for {TIMEOUT:?}"),
                try_next: "look into the server's log: it seems to stand still".to_owned(),
            }),
        }
    }

    /// Removes what a run has left, and waits until the server's memory is free again, so that the next run does
    /// not share the machine with that.
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

    /// Removes everything, also what is still on its way to the server from a process that was just ended.
    pub(crate) async fn leave(&mut self) -> anyhow::Result<()> {
        const QUIET: Duration = Duration::from_millis(50);
        const ATTEMPTS: u32 = 20;
        self.remove_what_died().await?;
        for _ in 0..ATTEMPTS {
            self.clear().await?;
            sleep(QUIET).await;
            if self.ask::<u64>(cmd("EXISTS").arg(KEYS)).await? == 0 {
                return Ok(());
            }
        }
        bail!(
            "somebody else writes to the keys of the bench: {} may be left at {}",
            KEYS.join(" or "),
            self.address
        )
    }

    /// Removes the lanes and the lists of ids of groups that could not do it themselves.
    async fn remove_what_died(&mut self) -> anyhow::Result<()> {
        // A user who may not look has none of them: it takes the same permissions to make them.
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

    /// Removes what such groups have beside the streams that they read.
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
                try_next: "check that the server still runs; its log says why if not".to_owned(),
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
    /// From this moment to a later one.
    pub(crate) fn until(&self, later: &Self) -> Used {
        Used { cpu_us: (later.cpu - self.cpu) * 1e6, main: later.main - self.main }
    }
}

impl Used {
    /// The part of so many seconds that the main thread was busy: 0 to 1. All that was used must have been in them,
    /// but for what it takes to look.
    pub(crate) fn busy(&self, seconds: f64) -> f64 {
        (self.main / seconds).clamp(0.0, 1.0)
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { cpu_us: self.cpu_us + other.cpu_us, main: self.main + other.main }
    }
}

/// All keys that a run may leave, but for those that [`PROCESSES`] and [`READERS`] name.
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
/// Who reads a stream, and what each one's token begins with.
const READERS: [(&str, &str); 2] = [
    ("{bench:published}:leases:processors", "{bench:published}:token:"),
    ("{bench:processed}:spill::leases:processors", "{bench:processed}:spill::token:"),
];
/// What the processes of the groups say of themselves, each by its id, while they live or have died badly.
const PROCESSES: &str = "{bench:ids}:processes";

const LIMIT: &str = "client-output-buffer-limit";
