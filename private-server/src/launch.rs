//! Starts the server once and waits until it answers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    Error,
    guard::Guard,
    log::Log,
    process::{Process, Role},
    ready,
};

/// How long a server may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// How often the server is asked.
const ASK_EVERY: Duration = Duration::from_millis(10);

/// The result of one start.
pub(crate) enum Launched {
    /// The server answers.
    Running(Process),
    /// Another process has its port, or the port of its cluster bus.
    PortTaken,
}

/// All that is needed to start the same server again.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    role: Role,
    pub(crate) config: PathBuf,
    pub(crate) socket: PathBuf,
    log: Log,
    secrets: Vec<String>,
}

impl Launch {
    pub(crate) fn new(binary: PathBuf, role: Role, folder: &Path, secrets: Vec<String>) -> Self {
        Self {
            binary,
            role,
            config: folder.join("server.conf"),
            socket: folder.join("server.sock"),
            log: Log::new(folder.join("server.log")),
            secrets,
        }
    }

    /// Starts the server and waits until it answers. Dropping this future kills the process.
    pub(crate) async fn start(&mut self, guard: &Arc<Guard>) -> Result<Launched, Error> {
        let deadline = Instant::now() + READY_LIMIT;
        let mut process = Process::spawn(&self.binary, &self.config, self.role, guard, &mut self.log)
            .map_err(|source| Error::Run { path: self.binary.clone(), source })?;
        loop {
            if process.has_ended() {
                return self.explain_end(&mut process);
            }
            if ready::answers(&self.socket).await {
                return Ok(Launched::Running(process));
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady {
                    path: self.binary.clone(),
                    after: READY_LIMIT,
                    log: self.log.tail(&self.secrets),
                });
            }
            sleep(ASK_EVERY).await;
        }
    }

    fn explain_end(&self, process: &mut Process) -> Result<Launched, Error> {
        if self.log.says_port_is_taken() {
            return Ok(Launched::PortTaken);
        }
        let status = process.kill().map_err(Error::io("wait for the server"))?;
        let log = self.log.tail(&self.secrets);
        Err(Error::EndedEarly { path: self.binary.clone(), status, log })
    }
}
