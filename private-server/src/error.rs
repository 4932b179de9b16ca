//! The errors of a private server.

use std::{io, path::PathBuf, process::ExitStatus, time::Duration};

/// Why a private server could not be found, started or controlled. Each text ends with what to try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Neither `REDIS_SERVER` nor the search path names a server.
    #[error(
        "no Redis or Valkey server was found on the search path; \
         {install}, or set REDIS_SERVER=/path/to/redis-server"
    )]
    NotInstalled {
        /// How to install a server on this system.
        install: String,
    },

    /// A server was named, but it cannot be run.
    #[error("{named_by} names {}, which {why}; {install}, or name the path of an executable server", path.display())]
    NotExecutable {
        /// Who named it: `REDIS_SERVER` or `the builder`.
        named_by: &'static str,
        /// The path as it was looked up.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
        /// How to install a server on this system.
        install: String,
    },

    /// The program runs, but it is not a Redis or Valkey server.
    #[error(
        "{} is not a Redis or Valkey server: it answered --version with {answer:?}; \
         set REDIS_SERVER=/path/to/redis-server",
        path.display()
    )]
    NotAServer {
        /// The program.
        path: PathBuf,
        /// The first line that it printed.
        answer: String,
    },

    /// TLS was requested, but none of the servers that were found supports it.
    #[error(
        "none of these servers supports TLS: {}; {install}, or set REDIS_SERVER to a build with TLS",
        list(tried)
    )]
    NoTls {
        /// The servers that were tried, in order.
        tried: Vec<PathBuf>,
        /// How to install a server on this system.
        install: String,
    },

    /// An option given to the builder cannot be written as one line of the server's configuration.
    #[error("the option {name:?} {why}; give each option to the builder as one name and one value")]
    Option {
        /// The option's name. Its value may be a password and is not kept.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },

    /// The operating system refused something.
    #[error("could not {doing}: {source}; check the permissions and the free space of the temporary folder")]
    Io {
        /// What was attempted.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },

    /// The server's program could not be started.
    #[error("could not run {}: {source}; check with `{} --version` that it runs here", path.display(), path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },

    /// The server ended before it answered.
    #[error(
        "{} ended before it answered ({status}). The end of its log:\n{log}\n\
         If an option is named there, correct it in the builder; else try another server with \
         REDIS_SERVER=/path/to/redis-server",
        path.display()
    )]
    EndedEarly {
        /// The program.
        path: PathBuf,
        /// The exit status.
        status: ExitStatus,
        /// The last lines of its log, without passwords.
        log: String,
    },

    /// The server runs, but it did not answer in time.
    #[error(
        "{} did not answer within {} s. The end of its log:\n{log}\n\
         Try again when the machine is less busy, or start it with less data",
        path.display(),
        after.as_secs()
    )]
    NotReady {
        /// The program.
        path: PathBuf,
        /// How long the start waited.
        after: Duration,
        /// The last lines of its log, without passwords.
        log: String,
    },

    /// Every port that was tried is taken.
    #[error(
        "no free port on 127.0.0.1 after {attempts} attempts; \
         look with `ss -ltn` for what holds the ports from 10000 on"
    )]
    NoFreePort {
        /// How many ports were tried.
        attempts: u32,
    },

    /// The server was stopped or killed, or it ended by itself.
    #[error("the server at {addr} is no longer running; call restart() first")]
    NotRunning {
        /// Its address while it ran.
        addr: String,
    },

    /// The certificates could not be made.
    #[cfg(feature = "tls")]
    #[error(
        "could not make the certificates: {0}; start the server without TLS to see whether the rest works"
    )]
    Certificates(#[from] rcgen::Error),
}

impl Error {
    /// For `map_err`: `doing` says what was attempted when the system refused.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "(none is installed)".to_owned();
    }
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
