//! The options of a private server, and its start.

use std::{fmt, io, path::PathBuf, sync::Arc};

use tokio::task::spawn_blocking;

#[cfg(feature = "tls")]
use crate::tls::{Certificates, ClientCertificates};
use crate::{
    Error, PrivateServer, binary,
    config::Config,
    guard::Guard,
    launch::{Launch, Launched},
    port::Port,
    process::Role,
};

/// How many ports to try.
const PORTS: u32 = 20;

/// Options of a private server. Created by [`PrivateServer::builder`].
#[derive(Default)]
#[must_use = "nothing runs before start()"]
pub struct Builder {
    binary: Option<PathBuf>,
    config: Config,
    pub(crate) role: Role,
    #[cfg(feature = "tls")]
    tls: Option<(ClientCertificates, Option<Certificates>)>,
}

impl Builder {
    /// The server to run, instead of the one that [`find_server`](crate::find_server) finds. A name without a
    /// slash is looked up on the search path.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Adds one line of the configuration, as in `redis.conf`: `.arg("maxmemory", "10mb")`. The name may also be
    /// spelled `--maxmemory`. The value is not quoted for you, except that an empty one becomes `""`.
    ///
    /// The private server sets the port, the folder and the log itself, and passwords and users have their own
    /// methods. [`Builder::start`] refuses the names of those options here.
    pub fn arg(mut self, name: impl AsRef<str>, value: impl fmt::Display) -> Self {
        let name = name.as_ref().trim_start_matches("--").to_owned();
        self.config.options.push((name, value.to_string()));
        self
    }

    /// Makes the server write every change to its folder before it confirms it (`appendfsync always`), so that the data
    /// survives [`restart`](PrivateServer::restart) and [`kill`](PrivateServer::kill).
    pub fn appendonly_always(self) -> Self {
        self.arg("appendonly", "yes").arg("appendfsync", "always")
    }

    /// Sets the password of the default user. It becomes part of [`PrivateServer::url`].
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.config.password = Some(password.into());
        self
    }

    /// Adds a user, written as in an ACL file but without the word `user`: `"alice on >wonder ~* &* +@all"`.
    pub fn acl_user(mut self, rules: impl Into<String>) -> Self {
        self.config.users.push(rules.into());
        self
    }

    /// Makes the port speak TLS only, with certificates made for this server (see [`PrivateServer::certificates`]).
    /// Unless [`Builder::binary`] names a server, the first server with TLS is used.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, clients: ClientCertificates) -> Self {
        self.tls = Some((clients, None));
        self
    }

    /// Like [`Builder::tls`], with certificates that several servers share, so that they trust each other.
    #[cfg(feature = "tls")]
    pub fn tls_with(mut self, clients: ClientCertificates, certificates: &Certificates) -> Self {
        self.tls = Some((clients, Some(certificates.clone())));
        self
    }

    /// Starts the server and waits until it answers, for at most 10 s.
    ///
    /// Dropping this future ends everything that it has started.
    ///
    /// # Errors
    ///
    /// No server was found, an option is wrong, or the server ended early or did not answer. See [`Error`].
    pub async fn start(self) -> Result<PrivateServer, Error> {
        self.config.validate()?;
        let (binary, version) = self.find_binary().await?;
        let guard = Arc::new(Guard::start().map_err(Error::io("make a temporary folder"))?);

        let config = self.config;
        #[cfg(feature = "tls")]
        let (config, certificates) = match self.tls {
            Some((clients, shared)) => {
                let certificates = shared.map_or_else(Certificates::make, Ok)?;
                let tls = Some(certificates.config_lines(clients));
                (Config { tls, ..config }, Some(certificates))
            }
            None => (config, None),
        };

        let mut launch = Launch::new(binary, self.role, guard.folder(), config.secrets());
        for _ in 0..PORTS {
            let Some(port) = Port::probably_free() else { break };
            config.write(&launch.config, guard.folder(), &launch.socket, port.number)?;
            match launch.start(&guard).await? {
                Launched::Running(process) => {
                    return Ok(PrivateServer {
                        process: Some(process),
                        launch,
                        port,
                        version,
                        password: config.password,
                        speaks_tls: config.tls.is_some(),
                        #[cfg(feature = "tls")]
                        certificates,
                        guard,
                    });
                }
                Launched::PortTaken => {}
            }
        }
        Err(Error::NoFreePort { attempts: PORTS })
    }

    /// Runs on a blocking thread, because it runs programs and waits for them.
    async fn find_binary(&self) -> Result<(PathBuf, String), Error> {
        #[cfg(feature = "tls")]
        let needs_tls = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let needs_tls = false;
        let named = self.binary.clone();
        spawn_blocking(move || {
            let path = match named {
                Some(name) => binary::named_by_the_builder(&name)?,
                None if needs_tls => binary::find_tls_capable()?,
                None => binary::find_server()?,
            };
            let version = binary::version(&path)?;
            Ok((path, version))
        })
        .await
        .unwrap_or_else(|ended| Err(Error::io("look for a server")(io::Error::other(ended))))
    }
}

impl fmt::Debug for Builder {
    /// Shows only the names of options, because passwords are among the values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.config.options.iter().map(|(name, _)| name).collect();
        f.debug_struct("Builder")
            .field("binary", &self.binary)
            .field("options", &options)
            .finish_non_exhaustive()
    }
}
