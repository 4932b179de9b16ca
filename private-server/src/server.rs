//! The handle of a running server.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use tokio::time::sleep;

#[cfg(feature = "tls")]
use crate::tls::Certificates;
use crate::{
    Builder, Error,
    ask::ask,
    guard::Guard,
    launch::{Launch, Launched},
    port::Port,
    process::Process,
};

/// How long a server may take to end by itself. One that has replicas waits for them up to 10 s
/// (`shutdown-timeout`).
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// A Redis or Valkey server that belongs to this handle: dropped, it is killed and its folder removed.
///
/// Dropping waits for the process to be gone, which takes some milliseconds.
#[must_use = "the server ends when this is dropped"]
pub struct PrivateServer {
    /// None after `stop` and `kill`. Dropped before the folder it writes to.
    pub(crate) process: Option<Process>,
    pub(crate) launch: Launch,
    pub(crate) port: Port,
    pub(crate) version: String,
    pub(crate) password: Option<String>,
    pub(crate) speaks_tls: bool,
    #[cfg(feature = "tls")]
    pub(crate) certificates: Option<Certificates>,
    pub(crate) guard: Arc<Guard>,
}

impl PrivateServer {
    /// A server with nothing but the defaults, until the builder is told otherwise.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `redis://127.0.0.1:PORT`, or `rediss://` with TLS. Contains the password if there is one: for
    /// connecting. To show it, use [`PrivateServer::addr`].
    pub fn url(&self) -> String {
        let scheme = if self.speaks_tls { "rediss" } else { "redis" };
        let login = self.password.as_ref().map(|password| format!(":{}@", percent_encode(password)));
        format!("{scheme}://{}{}", login.unwrap_or_default(), self.addr())
    }

    /// `unix:///…/server.sock`, with `?pass=…` if there is a password.
    pub fn unix_url(&self) -> String {
        let login = self.password.as_ref().map(|password| format!("?pass={}", percent_encode(password)));
        format!("unix://{}{}", self.launch.socket.display(), login.unwrap_or_default())
    }

    /// `127.0.0.1:PORT`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// The port, 10000 to 19999. The same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The Unix socket, which is always there and never speaks TLS.
    pub fn socket(&self) -> &Path {
        &self.launch.socket
    }

    /// The folder with everything the server writes, `server.log` among it. Gone when this handle is.
    pub fn folder(&self) -> &Path {
        self.guard.folder()
    }

    /// What ends with the owner of this server, to put other processes under it.
    pub fn guard(&self) -> Arc<Guard> {
        self.guard.clone()
    }

    /// The program that runs.
    pub fn binary(&self) -> &Path {
        &self.launch.binary
    }

    /// Name and version, as in `Valkey 9.1.2` or `Redis 7.0.15`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The certificates that were made, if this server speaks TLS.
    #[cfg(feature = "tls")]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The process, while there is one. Another one after each restart.
    pub fn pid(&self) -> Option<u32> {
        self.running().ok().map(Process::pid)
    }

    /// Stops the process where it is (SIGSTOP): its connections stay open and silent. Returns when it stands
    /// still.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn freeze(&self) -> Result<(), Error> {
        self.signalled(self.running()?.freeze(), "freeze the server")
    }

    /// Lets a frozen server go on (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`].
    pub fn thaw(&self) -> Result<(), Error> {
        self.signalled(self.running()?.thaw(), "thaw the server")
    }

    /// Ends the server as a crash would (SIGKILL). Returns when it is gone. Its folder stays, for
    /// [`PrivateServer::restart`]. Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system does not let us wait for it.
    pub fn kill(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(mut process) => process.kill().map(drop).map_err(Error::io("kill the server")),
            None => Ok(()),
        }
    }

    /// Ends the server as an administrator would (SIGTERM), frozen or not, and waits for it; after 12 s it is
    /// killed. Its folder stays, for [`PrivateServer::restart`]. Does nothing if it does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system does not let us wait for it.
    pub async fn stop(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(process) => process.stop(STOP_LIMIT).await.map(drop).map_err(Error::io("stop the server")),
            None => Ok(()),
        }
    }

    /// Starts the server again with the same port, folder and options, after stopping it if it runs. What it
    /// kept in its folder is there again: see [`Builder::appendonly_always`].
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`]. [`Error::NoFreePort`] if somebody else took the port meanwhile.
    pub async fn restart(&mut self) -> Result<(), Error> {
        const ATTEMPTS: u32 = 20;
        const PAUSE: Duration = Duration::from_millis(50);
        self.stop().await?;
        for _ in 0..ATTEMPTS {
            match self.launch.start(&self.guard).await? {
                Launched::Running(process) => {
                    self.process = Some(process);
                    return Ok(());
                }
                // Others try ports for a moment only, to see whether they are free.
                Launched::PortTaken => sleep(PAUSE).await,
            }
        }
        Err(Error::NoFreePort { attempts: ATTEMPTS })
    }

    /// One command, written as in a terminal, and its answer.
    pub(crate) async fn ask(&self, command: &str) -> io::Result<String> {
        ask(self.socket(), self.password.as_deref(), command).await
    }

    fn running(&self) -> Result<&Process, Error> {
        let process = self.process.as_ref().filter(|process| !process.has_ended());
        process.ok_or_else(|| Error::NotRunning { addr: self.addr() })
    }

    /// The server may end by itself between the look and the signal.
    fn signalled(&self, alive: io::Result<bool>, doing: &str) -> Result<(), Error> {
        match alive.map_err(Error::io(doing))? {
            true => Ok(()),
            false => Err(Error::NotRunning { addr: self.addr() }),
        }
    }
}

impl fmt::Debug for PrivateServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateServer")
            .field("version", &self.version)
            .field("addr", &self.addr())
            .field("pid", &self.pid())
            .field("folder", &self.folder())
            .finish_non_exhaustive()
    }
}

/// Everything but letters, digits and `-._~`, as RFC 3986 has it for any part of a URL.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
