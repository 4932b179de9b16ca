//! TLS, with the certificates of the configuration.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;
use std::{fs, io};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::Socket;
use crate::config::Tls;
use crate::error::Error;

/// Encrypts connections. Files that have changed are read again before the next connection.
pub(super) struct Encryption {
    files: Tls,
    current: Mutex<Current>,
}

/// What was made of the files, and which versions of them were read.
struct Current {
    connector: TlsConnector,
    versions: Versions,
}

/// When each file was changed last, and its length. `None` for one that is not configured, or missing.
type Versions = [Option<(SystemTime, u64)>; 3];

impl Encryption {
    /// # Errors
    /// A file that cannot be read, or holds no certificate or key.
    pub(super) fn new(tls: &Tls) -> Result<Self, Error> {
        let versions = versions(tls);
        let current = Mutex::new(Current { connector: connector(tls)?, versions });
        Ok(Self { files: tls.clone(), current })
    }

    /// The connector for the files as they are now. Files that cannot be used are reported once, and the previous
    /// ones stay in use: a certificate and its key are not replaced in one step.
    fn connector(&self) -> TlsConnector {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = versions(&self.files);
        if versions != current.versions {
            current.versions = versions;
            match connector(&self.files) {
                Ok(connector) => {
                    current.connector = connector;
                    tracing::info!(
                        event = "certificates",
                        "the certificates have changed and were read again"
                    );
                }
                Err(error) => tracing::warn!(
                    event = "certificates",
                    "cannot use the changed certificates: {error}; the previous ones stay in use"
                ),
            }
        }
        current.connector.clone()
    }

    /// Encrypts a connection to this host.
    pub(super) async fn encrypt(&self, host: &str, stream: TcpStream) -> io::Result<Box<dyn Socket>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = self.connector();
        Ok(Box::new(connector.connect(name, stream).await?))
    }
}

fn versions(tls: &Tls) -> Versions {
    [&tls.ca, &tls.cert, &tls.key].map(|path| {
        let file = fs::metadata(path.as_ref()?).ok()?;
        Some((file.modified().ok()?, file.len()))
    })
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
            // The certificates that the system trusts. A broken one among many does not prevent the start.
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
