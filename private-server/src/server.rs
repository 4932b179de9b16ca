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

/// How long a server may take to end by itself. A primary waits for its replicas for up to 10 s
/// (`shutdown-timeout`).
const STOP_LIMIT: Duration = Duration::from_secs(12);

/// A Redis or Valkey server that belongs to this handle. Dropping the handle kills the server and removes its folder.
///
/// `drop` waits until the process has ended, which takes a few milliseconds.
#[must_use = "the server ends when this is dropped"]
pub struct PrivateServer {
    /// `None` after `stop` and `kill`. Dropped before the folder that the server writes to.
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
    /// Options for a server with the defaults, to be changed by the builder's methods.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `redis://127.0.0.1:PORT`, or `rediss://` with TLS. Contains the password if there is one, so use it only to
    /// connect. To print an address, use [`PrivateServer::addr`].
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

    /// The port, 10000 to 19999. It stays the same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number
    }

    /// The Unix socket. Every private server has one, and it never uses TLS.
    pub fn socket(&self) -> &Path {
        &self.launch.socket
    }

    /// The folder for everything the server writes, including `server.log`. Removed when the handle is dropped.
    pub fn folder(&self) -> &Path {
        self.guard.folder()
    }

    /// The guard of this server, for other processes that should end with the same owner.
    pub fn guard(&self) -> Arc<Guard> {
        self.guard.clone()
    }

    /// The path of the server's executable.
    pub fn binary(&self) -> &Path {
        &self.launch.binary
    }

    /// Name and version, as in `Valkey 9.1.2` or `Redis 7.0.15`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The certificates of this server, if it uses TLS.
    #[cfg(feature = "tls")]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The pid while the process runs. Each restart changes it.
    pub fn pid(&self) -> Option<u32> {
        self.running().ok().map(Process::pid)
    }

    /// Freezes the process (SIGSTOP): its connections stay open and silent. Returns when the process has stopped.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if the server has ended.
    pub fn freeze(&self) -> Result<(), Error> {
        self.signalled(self.running()?.freeze(), "freeze the server")
    }

    /// Lets a frozen server continue (SIGCONT).
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] if the server has ended.
    pub fn thaw(&self) -> Result<(), Error> {
        self.signalled(self.running()?.thaw(), "thaw the server")
    }

    /// Ends the server as a crash does (SIGKILL). Returns when the process has ended. The folder stays, for
    /// [`PrivateServer::restart`]. Does nothing if the server does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system refuses to wait for it.
    pub fn kill(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(mut process) => process.kill().map(drop).map_err(Error::io("kill the server")),
            None => Ok(()),
        }
    }

    /// Ends the server as an administrator does (SIGTERM), frozen or not, and waits. Kills it after 12 s. The folder
    /// stays, for [`PrivateServer::restart`]. Does nothing if the server does not run.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system refuses to wait for it.
    pub async fn stop(&mut self) -> Result<(), Error> {
        match self.process.take() {
            Some(process) => process.stop(STOP_LIMIT).await.map(drop).map_err(Error::io("stop the server")),
            None => Ok(()),
        }
    }

    /// Starts the server again with the same port, folder and options; stops it first if it runs. The data that it
    /// wrote to its folder is still there: see [`Builder::appendonly_always`].
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`]. [`Error::NoFreePort`] if another process has taken the port.
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
                // Other private servers hold a port only for a moment, to see whether it is free.
                Launched::PortTaken => sleep(PAUSE).await,
            }
        }
        Err(Error::NoFreePort { attempts: ATTEMPTS })
    }

    /// Sends one command, written as in a terminal, and returns its answer.
    pub(crate) async fn ask(&self, command: &str) -> io::Result<String> {
        ask(self.socket(), self.password.as_deref(), command).await
    }

    fn running(&self) -> Result<&Process, Error> {
        let process = self.process.as_ref().filter(|process| !process.has_ended());
        process.ok_or_else(|| Error::NotRunning { addr: self.addr() })
    }

    /// The server may end by itself between the check and the signal.
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

/// Encodes everything but letters, digits and `-._~`, the characters that RFC 3986 allows in any part of a URL.
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
