//! Several private sentinels that watch a private server.

use std::{io, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{Builder, Error, PrivateServer, config::quote, process::Role, together::together};

/// How long the sentinels may take to find each other and the replicas. A sentinel that was suspended for two seconds,
/// as on a busy machine, does nothing for the next thirty.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// How often the sentinels are asked.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Sentinels that watch a server and its replicas, ready about 3 s after their start. Dropping them kills all sentinels
/// and removes their folders.
#[must_use = "the sentinels end when this is dropped"]
#[derive(Debug)]
pub struct PrivateSentinels {
    sentinels: Vec<PrivateServer>,
    service: String,
}

impl PrivateSentinels {
    /// Starts `count` sentinels, a majority of which must agree on a failover. Returns when each of them knows the
    /// others and the replicas of the server. Calls `sentinel` once per sentinel.
    ///
    /// A server that does not answer for half a second is replaced by a replica, which takes about two seconds. If the
    /// server has a password, its replicas must have the same one.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`]; [`Error::Io`] if the sentinels did not find each other in 90 s.
    pub async fn start(
        sentinel: impl Fn() -> Builder,
        count: usize,
        service: &str,
        primary: &PrivateServer,
        replicas: usize,
    ) -> Result<Self, Error> {
        let sentinels = (0..count).map(|_| {
            let quorum = count / 2 + 1;
            let mut sentinel = sentinel()
                .arg("sentinel", format!("monitor {service} 127.0.0.1 {} {quorum}", primary.port()))
                .arg("sentinel", format!("down-after-milliseconds {service} 500"))
                .arg("sentinel", format!("failover-timeout {service} 5000"));
            if let Some(password) = &primary.password {
                sentinel = sentinel.arg("sentinel", format!("auth-pass {service} {}", quote(password)));
            }
            sentinel.role = Role::Sentinel;
            sentinel.start()
        });
        let sentinels = Self { sentinels: together(sentinels).await?, service: service.to_owned() };
        sentinels.find_each_other(replicas).await.map_err(failed)?;
        Ok(sentinels)
    }

    /// The sentinels.
    pub fn sentinels(&self) -> &[PrivateServer] {
        &self.sentinels
    }

    /// One sentinel, to kill, stop or restart it.
    ///
    /// # Panics
    ///
    /// If `index` is out of range.
    pub fn sentinel(&mut self, index: usize) -> &mut PrivateServer {
        &mut self.sentinels[index]
    }

    /// The service name under which they watch the server.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The addresses of all sentinels: `127.0.0.1:PORT,127.0.0.1:PORT,…`.
    #[must_use]
    pub fn addrs(&self) -> String {
        self.sentinels.iter().map(PrivateServer::addr).collect::<Vec<_>>().join(",")
    }

    /// The port of the current primary, according to one sentinel.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the sentinel does not answer, or does not know the primary.
    pub async fn primary(&self, index: usize) -> Result<u16, Error> {
        let info = self.sentinels[index].ask("INFO sentinel").await.map_err(failed)?;
        let address = field(&info, "address").and_then(|address| address.rsplit_once(':')?.1.parse().ok());
        address.ok_or_else(|| failed(io::Error::other("it names no primary")))
    }

    async fn find_each_other(&self, replicas: usize) -> io::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let count = |info: &str, name| field(info, name).and_then(|count| count.parse::<usize>().ok());
        for sentinel in &self.sentinels {
            loop {
                let info = sentinel.ask("INFO sentinel").await?;
                if info.contains("sentinel_tilt:0")
                    && field(&info, "status") == Some("ok")
                    && count(&info, "slaves") == Some(replicas)
                    && count(&info, "sentinels") == Some(self.sentinels.len())
                {
                    break;
                }
                if Instant::now() >= deadline {
                    return Err(io::Error::other(format!(
                        "{} does not find the others: {}",
                        sentinel.addr(),
                        info.trim_end()
                    )));
                }
                sleep(ASK_EVERY).await;
            }
        }
        Ok(())
    }
}

/// A field of the single service: `master0:name=mymaster,status=ok,address=127.0.0.1:6379,slaves=1,sentinels=3`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let fields = info.lines().find_map(|line| line.strip_prefix("master0:"))?;
    fields.trim_end().split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

fn failed(error: io::Error) -> Error {
    Error::io("have sentinels watch a server")(error)
}
