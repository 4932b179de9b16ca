//! The server: how to open a socket to it, and what to say when that fails.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::setback::{Kind, Setback};
use crate::address::{Address, Endpoint};
use crate::config::Tls;
use crate::error::Error;

/// How long opening a socket may take, and how long a command may stay without an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A server that connections are opened to.
pub(crate) struct Server {
    address: Address,
    tls: Option<TlsConnector>,
}

/// A socket of any kind.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Socket for S {}

impl Server {
    /// Reads the certificates, if there are any.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no certificate or key.
    pub(crate) fn new(address: Address, tls: &Tls) -> Result<Arc<Self>, Error> {
        let tls = if address.is_tls() { Some(connector(tls)?) } else { None };
        Ok(Arc::new(Self { address, tls }))
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a socket, encrypted if the address says so.
    pub(crate) async fn socket(&self) -> io::Result<Box<dyn Socket>> {
        timeout(PATIENCE, self.open()).await.unwrap_or_else(|_| {
            Err(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {PATIENCE:?}")))
        })
    }

    async fn open(&self) -> io::Result<Box<dyn Socket>> {
        match self.address.endpoint() {
            Endpoint::Tcp { host, port } => Ok(Box::new(tcp(host, *port).await?)),
            Endpoint::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
            Endpoint::Tls { host, port } => {
                let connector = self.tls.as_ref().ok_or_else(|| io::Error::other("TLS was not set up"))?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Ok(Box::new(connector.connect(name, tcp(host, *port).await?).await?))
            }
        }
    }

    /// An error for a server that could not be reached in time.
    pub(crate) fn unreachable(&self, cause: String) -> Error {
        let try_next = if cause.contains("CertificateRequired") {
            "the server wants to see a certificate: name one with --tls-cert FILE and --tls-key FILE"
                .to_owned()
        } else if cause.contains("certificate") || cause.contains("UnknownIssuer") {
            "name the server's certificate authority with --tls-ca FILE".to_owned()
        } else if cause.starts_with("READONLY") {
            "this server is a read-only replica: connect to its primary".to_owned()
        } else if cause.starts_with("LOADING") {
            "the server is still loading its data: start the group again in a while".to_owned()
        } else if Kind::of(&cause) == Kind::Weather {
            "see to that at the server, then start the group again".to_owned()
        } else {
            match self.address.endpoint() {
                Endpoint::Unix(path) => format!("check that the server listens on {}", path.display()),
                Endpoint::Tcp { host, port } => {
                    format!("check that it runs (redis-cli -h {host} -p {port} ping) and that --url is right")
                }
                Endpoint::Tls { host, port } => {
                    format!(
                        "check that it runs (redis-cli --tls -h {host} -p {port} ping) and that --url is right"
                    )
                }
            }
        };
        Error::Unreachable { address: self.address.to_string(), cause, try_next }
    }

    /// What an error reply to this command means for us. `needs` is what an ACL rule must have for it.
    pub(crate) fn setback(&self, what: &str, needs: &str, answer: &str) -> Setback {
        match Kind::of(answer) {
            Kind::Refusal => Setback::Final(Error::Refused {
                address: self.address.to_string(),
                what: what.to_owned(),
                answer: answer.to_owned(),
                try_next: self.what_to_grant(needs, answer),
            }),
            Kind::Cluster => Setback::Final(Error::Config {
                option: "url",
                problem: format!(
                    "{} is a node of a Redis Cluster, and not all keys are there ({answer}), which does not work yet; \
                     give it a server that is not part of one",
                    self.address
                ),
            }),
            Kind::Unknown if answer.contains("DB index") => Setback::Final(Error::Config {
                option: "url",
                problem: format!(
                    "the server has no such database ({answer}): {}; name another one",
                    self.address
                ),
            }),
            Kind::Weather | Kind::WrongType | Kind::Unknown => Setback::Passing(answer.to_owned()),
        }
    }

    fn what_to_grant(&self, needs: &str, answer: &str) -> String {
        let user = self.address.user();
        // A refused login says it in other words.
        let permission =
            ["NOPERM", "has no permissions", "user executing the script", "ACL failure in script"];
        if permission.iter().any(|words| answer.contains(words)) {
            format!("the user {user:?} needs {needs} (ACL SETUSER {user} {needs})")
        } else if self.address.has_password() {
            format!("check the user {user:?} and its password")
        } else {
            "give a password, in the URL or with --password-file".to_owned()
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    // A commit is one write, and its answer is waited for: nothing is gained by holding a part back.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connector(tls: &Tls) -> Result<TlsConnector, Error> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(path) => {
            for certificate in certificates("tls-ca", path)? {
                roots.add(certificate).map_err(|error| unusable("tls-ca", path, error))?;
            }
        }
        None => {
            // What the system trusts; a broken one among many is no reason not to start.
            let (_, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::System { what: "cannot set up TLS", source: io::Error::other(error) })?
        .with_root_certificates(roots);
    let config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key_path)) => {
            let chain = certificates("tls-cert", cert)?;
            let key = PrivateKeyDer::from_pem_file(key_path)
                .map_err(|error| unusable("tls-key", key_path, error))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| unusable("tls-key", key_path, error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(option: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unusable(option, path, error))?;
    if certificates.is_empty() {
        return Err(unusable(option, path, "it holds no certificate in PEM form"));
    }
    Ok(certificates)
}

fn unusable(option: &'static str, path: &Path, error: impl ToString) -> Error {
    Error::File { option, path: path.to_owned(), source: io::Error::other(error.to_string()) }
}
